/** Where bad input was found and how it differs from what is needed. */
export interface InputErrorDetails {
  /** Path of the file that was read. */
  readonly file?: string;
  /** Name of the field, tensor, key or option at fault. */
  readonly field?: string;
  /** The value found. */
  readonly got?: unknown;
  /** The value needed. */
  readonly wanted?: unknown;
}

const LONGEST_DETAIL = 200;

/**
 * Bad input from outside: a file, an option or a request.
 *
 * `message` is the sentence given, followed by each detail that the sentence does not already state.
 */
export class InputError extends Error {
  override readonly name = "InputError";
  /** The sentence alone, without the details. */
  readonly summary: string;
  readonly file: string | undefined;
  readonly field: string | undefined;
  /** The value found, as text. */
  readonly got: string | undefined;
  /** The value needed, as text. */
  readonly wanted: string | undefined;

  constructor(message: string, details: InputErrorDetails = {}, options?: ErrorOptions) {
    const got = "got" in details ? describe(details.got) : undefined;
    const wanted = "wanted" in details ? describe(details.wanted) : undefined;
    const parts: string[] = [];
    const state = (label: string, text: string | undefined): void => {
      if (text !== undefined && !names(message, text)) parts.push(`${label} ${text}`);
    };
    state("file", details.file);
    state("field", details.field);
    if (got !== undefined && wanted !== undefined) {
      parts.push(`got ${got}, wanted ${wanted}`);
    } else {
      state("got", got);
      state("wanted", wanted);
    }
    super(parts.length === 0 ? message : `${message} (${parts.join("; ")})`, options);
    this.summary = message;
    this.file = details.file;
    this.field = details.field;
    this.got = got;
    this.wanted = wanted;
  }
}

/** Whether `message` holds `text` as words of their own. */
function names(message: string, text: string): boolean {
  for (let at = message.indexOf(text); at !== -1; at = message.indexOf(text, at + 1)) {
    if (!/\w/.test(message[at - 1] ?? " ") && !/\w/.test(message[at + text.length] ?? " ")) return true;
    if (text === "") return true;
  }
  return false;
}

function describe(value: unknown): string {
  const text = asText(value);
  return text.length <= LONGEST_DETAIL ? text : `${text.slice(0, LONGEST_DETAIL)}… (${text.length} characters)`;
}

function asText(value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value !== "object" || value === null) return String(value);
  try {
    return JSON.stringify(value);
  } catch {
    // Hostile nesting overflows the stack, and a bigint inside has no JSON.
    return Array.isArray(value) ? "an array" : "an object";
  }
}
