// Numbers and counts as people read them; a unit never parts from its number.

const whole = new Intl.NumberFormat("en");

export const count = (value) => whole.format(Math.round(value));

export const many = (value, one, more = `${one}s`) => `${count(value)} ${value === 1 ? one : more}`;

export function percent(share, digits = 0) {
  return `${(100 * share).toFixed(digits)}\u00a0%`;
}

/** A probability, which the server tells with four digits: never 100 % where it may be less. */
export function chance(share) {
  if (share > 0.9999) return "over 99.99\u00a0%";
  return percent(share, share > 0.99 ? 2 : 0);
}

export function seconds(value) {
  return `${value.toFixed(value < 10 ? 2 : 1)}\u00a0s`;
}

const UNITS = ["B", "kB", "MB", "GB", "TB"];

export function bytes(value) {
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)}\u00a0${UNITS[unit]}`;
}

/** How much less `mine` is than `theirs`, in words. */
export function less(mine, theirs) {
  if (!theirs) return "";
  const share = 1 - mine / theirs;
  if (Math.abs(share) < 0.005) return "the same";
  return `${percent(Math.abs(share))} ${share > 0 ? "less" : "more"}`;
}
