/** A number as protobuf's JSON writes it: 64-bit ones as strings, absent ones not at all. */
export type WireNumber = number | string | undefined;

/** The number, 0 where it is absent. */
export function num(value: WireNumber): number {
  return value === undefined ? 0 : Number(value);
}

/** A whole number with thousands separators. */
export function count(value: WireNumber): string {
  return Math.round(num(value)).toLocaleString("en-US");
}

/** Four significant digits. */
export function short(value: WireNumber): string {
  const number = num(value);
  if (!Number.isFinite(number)) return String(number);
  const size = Math.abs(number);
  return size !== 0 && (size < 1e-4 || size >= 1e6) ? number.toExponential(2) : String(Number(number.toPrecision(4)));
}

/** A share as a percentage. */
export function percent(share: WireNumber): string {
  return `${short(num(share) * 100)}%`;
}

/** Seconds as 4.2 s, 3m07s or 2h05m. */
export function seconds(value: number): string {
  if (value < 60) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 3600) return `${Math.floor(whole / 60)}m${String(whole % 60).padStart(2, "0")}s`;
  return `${Math.floor(whole / 3600)}h${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")}m`;
}

/** MODEL_STATE_READY with prefix MODEL_STATE_ as "ready". */
export function word(value: string | number | undefined, prefix: string): string {
  return value === undefined ? "unknown" : String(value).replace(prefix, "").toLowerCase();
}

/** The last part of a resource name. */
export function idOf(name: string | undefined): string {
  return name?.slice(name.lastIndexOf("/") + 1) ?? "";
}

/** A token with its blanks made visible. */
export function token(text: string | undefined): string {
  return (text ?? "").replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll(" ", "␣");
}
