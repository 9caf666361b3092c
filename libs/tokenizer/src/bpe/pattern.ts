import { InputError } from "@mistral-sae/tensor";

/** Where a pattern was read. */
export interface PatternPlace {
  readonly file: string;
  readonly field: string;
}

const GROUPS = ["(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!"];
const CLASS_OF: Readonly<Record<string, string>> = { s: "\\p{White_Space}", d: "\\p{Nd}", w: "\\p{L}\\p{M}\\p{N}\\p{Pc}" };
const LONGEST_PATTERN = 1 << 14;

/**
 * A pattern of Rust's regex or Oniguruma as the same pattern of JavaScript (flag u): `\s`, `\d`, `\w` and `.` mean
 * what they mean there. What JavaScript does not know, and what could take exponential time, is refused.
 */
export function translatePattern(source: string, place: PatternPlace): string {
  const refuse = (why: string): InputError =>
    new InputError(`${place.file}: the pattern that cuts words ${why}`, { ...place, got: source, wanted: "a pattern of literals, classes, groups without names, and greedy or lazy quantifiers" });
  if (source === "") throw refuse("is empty");
  if (source.length > LONGEST_PATTERN) throw refuse("is too long");
  const translated = new Translation(source, refuse).run();
  const fault = faultOf(translated);
  if (fault !== undefined) throw refuse(`cannot be read (${fault})`);
  return translated;
}

/** Why JavaScript does not take a pattern. */
function faultOf(pattern: string): string | undefined {
  try {
    RegExp(pattern, "u");
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** A text as a pattern that matches it. */
export function literalPattern(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}

class Translation {
  readonly #source: string;
  readonly #refuse: (why: string) => InputError;
  #at = 0;
  #out = "";
  /** For each open group, whether it holds a quantifier without an end. */
  readonly #repeats: boolean[] = [false];
  /** Whether what stands before the quantifier holds one itself. */
  #inner = false;

  constructor(source: string, refuse: (why: string) => InputError) {
    this.#source = source;
    this.#refuse = refuse;
  }

  run(): string {
    while (this.#at < this.#source.length) this.#step();
    if (this.#repeats.length !== 1) throw this.#refuse("has an open group");
    return this.#out;
  }

  #step(): void {
    const character = this.#source[this.#at]!;
    switch (character) {
      case "\\":
        this.#atom(this.#escape(false));
        return;
      case "[":
        this.#atom(this.#class());
        return;
      case ".":
        this.#at++;
        this.#atom("[^\\n]");
        return;
      case "(":
        this.#open();
        return;
      case ")":
        this.#close();
        return;
      case "*":
      case "+":
      case "?":
      case "{":
        this.#quantifier();
        return;
      case "^":
      case "$":
        throw this.#refuse(`has ${character}, which depends on the program`);
      default:
        this.#at++;
        this.#atom(character === "}" || character === "]" ? `\\${character}` : character);
    }
  }

  #atom(text: string): void {
    this.#out += text;
    this.#inner = false;
  }

  #open(): void {
    const group = this.#source[this.#at + 1] === "?" ? GROUPS.find((known) => this.#source.startsWith(known, this.#at)) : "(";
    if (group === undefined) throw this.#refuse(`has an unknown group at ${this.#at}`);
    this.#out += group === "(" ? "(?:" : group;
    this.#at += group.length;
    this.#repeats.push(false);
  }

  #close(): void {
    const inner = this.#repeats.pop() ?? false;
    if (this.#repeats.length === 0) throw this.#refuse("closes a group that is not open");
    this.#at++;
    this.#out += ")";
    this.#inner = inner;
    if (inner) this.#repeats[this.#repeats.length - 1] = true;
  }

  #quantifier(): void {
    const found = /^(?:[*+?]|\{\d{1,4}(?:,\d{0,4})?\})[?+]?/.exec(this.#source.slice(this.#at))?.[0];
    if (found === undefined) throw this.#refuse(`has { that is no quantifier at ${this.#at}`);
    if (found.length > 1 && found.endsWith("+")) throw this.#refuse("has a possessive quantifier");
    if (found[0] !== "?") {
      if (this.#inner) throw this.#refuse("repeats a group that repeats, which can take exponential time");
      this.#repeats[this.#repeats.length - 1] = true;
    }
    this.#out += found;
    this.#at += found.length;
  }

  /** The escape at the place, moving on behind it. */
  #escape(inClass: boolean): string {
    const letter = this.#source[this.#at + 1];
    if (letter === undefined) throw this.#refuse("ends in a backslash");
    this.#at += 2;
    const positive = CLASS_OF[letter.toLowerCase()];
    if (positive !== undefined) {
      if (letter in CLASS_OF) return inClass || letter !== "w" ? positive : `[${positive}]`;
      if (letter !== "W") return positive.replace("\\p", "\\P");
      if (inClass) throw this.#refuse("has \\W in a class");
      return `[^${positive}]`;
    }
    if (letter === "p" || letter === "P") return this.#property(letter);
    if ("nrtfv".includes(letter)) return `\\${letter}`;
    if (letter === "x" || letter === "u") {
      const digits = /^(?:\{([0-9a-fA-F]{1,6})\}|([0-9a-fA-F]{4})|([0-9a-fA-F]{2}))/.exec(this.#source.slice(this.#at));
      const hex = digits?.[1] ?? (letter === "u" ? digits?.[2] : this.#source.slice(this.#at, this.#at + 2));
      if (digits === null || hex === undefined) throw this.#refuse(`has a broken escape at ${this.#at}`);
      this.#at += digits[1] !== undefined ? hex.length + 2 : hex.length;
      return `\\u{${hex}}`;
    }
    if (/[0-9A-Za-z]/.test(letter)) throw this.#refuse(`has the unknown escape \\${letter}`);
    return literalOf(letter, inClass);
  }

  #property(letter: string): string {
    const found = /^(?:\{(\^?)([\w= -]+)\}|([A-Z]))/.exec(this.#source.slice(this.#at));
    if (found === null) throw this.#refuse(`has a broken property at ${this.#at}`);
    this.#at += found[0].length;
    const name = found[2] ?? found[3] ?? "";
    const inverted = (letter === "P") !== (found[1] === "^");
    for (const known of [name, `Script=${name}`]) {
      if (faultOf(`\\p{${known}}`) === undefined) return `\\${inverted ? "P" : "p"}{${known}}`;
    }
    throw this.#refuse(`has the unknown property ${name}`);
  }

  #class(): string {
    let text = "[";
    this.#at++;
    if (this.#source[this.#at] === "^") {
      text += "^";
      this.#at++;
    }
    for (let first = true; ; first = false) {
      const character = this.#source[this.#at];
      if (character === undefined) throw this.#refuse("has an open class");
      if (character === "]" && !first) break;
      if (character === "[") throw this.#refuse("has a class in a class");
      if (this.#source.startsWith("&&", this.#at)) throw this.#refuse("has an intersection of classes");
      if (character === "\\") {
        text += this.#escape(true);
      } else {
        text += character === "]" ? "\\]" : character;
        this.#at++;
      }
    }
    this.#at++;
    return `${text}]`;
  }
}

function literalOf(character: string, inClass: boolean): string {
  if (/[\\^$.*+?()[\]{}|/]/.test(character) || (inClass && character === "-")) return `\\${character}`;
  return character;
}
