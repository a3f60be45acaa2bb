// Numbers as text. What is not known is a dash, never a zero.

export const UNKNOWN = "–";

/** Events a second. */
export function rate(value) {
  if (value === null || value === undefined) return UNKNOWN;
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toFixed(1);
}

/** A quantile: {seconds, at_least}. */
export function quantile(estimate) {
  if (!estimate) return UNKNOWN;
  return (estimate.at_least ? "≥ " : "") + milliseconds(estimate.seconds * 1000);
}

/** A length of time, to three digits. */
export function milliseconds(value) {
  const [number, unit] = value >= 1000 ? [value / 1000, "s"] : [value, "ms"];
  return `${number.toFixed(number < 10 ? 2 : number < 100 ? 1 : 0)} ${unit}`;
}

/** A part of a whole. */
export function share(value) {
  return value === null || value === undefined ? UNKNOWN : `${(value * 100).toFixed(1)} %`;
}

/** Nano-units as a decimal number. Integers only: no cent is lost on the way. */
export function money(nanos) {
  const text = String(BigInt(nanos)).padStart(10, "0");
  return `${text.slice(0, -9)}.${text.slice(-9, -3)}`;
}

/** A time of the day. */
export function clock(ms) {
  return new Date(ms).toLocaleTimeString("en-GB");
}
