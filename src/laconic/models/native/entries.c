/* Small things that would be many calls from outside: moving entries of a cache, adding up shares of equal tokens. */
#include <string.h>
#include "kernels.h"

/* In each of `count` buffers, whose entries are of bytes[b], put the entries source[0 .. n], which rise and count from
 * the entry `at`, right behind each other from there on. */
void entries_move(char *const *buffers, const int64_t *bytes, long count, long at, const int64_t *source, long n)
{
    for (long b = 0; b < count; b++) {
        char *const front = buffers[b] + at * bytes[b];
        for (long i = 0; i < n; i++)
            if (source[i] != i) memcpy(front + i * bytes[b], front + source[i] * bytes[b], (size_t)bytes[b]);
    }
}

/* Of each of n rows of tokens and shares[wide], those above `least` that are tokens at all, each once with the sum of its
 * shares, in the order in which they come first, put at the beginning; found says how many. In place. */
void shares_add(int64_t *tokens, double *shares, long n, long wide, double least, int64_t *found)
{
    for (long i = 0; i < n; i++, tokens += wide, shares += wide) {
        long kept = 0;
        for (long j = 0; j < wide; j++) {
            if (tokens[j] < 0 || !(shares[j] > least)) continue;
            long at = 0;
            while (at < kept && tokens[at] != tokens[j]) at++;
            if (at < kept) shares[at] += shares[j];
            else tokens[kept] = tokens[j], shares[kept++] = shares[j];
        }
        found[i] = kept;
    }
}
