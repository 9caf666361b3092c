import { InputError } from "@mistral-sae/tensor";

/**
 * Checks a key and returns its segments, so that no key leaves the store's root.
 * @throws InputError on an empty key, an absolute one, a backslash, NUL, or a segment `""`, `.` or `..`.
 */
export function keySegments(key: string): readonly string[] {
  const segments = key.split("/");
  const bad = segments.some((segment) => segment === "" || segment === "." || segment === "..");
  if (bad || key.includes("\\") || key.includes("\0")) {
    throw new InputError(`blob key ${JSON.stringify(key)} is not a relative path of plain segments`, {
      field: "key",
      got: key,
      wanted: "segments joined by '/', none empty, '.' or '..'",
    });
  }
  return segments;
}
