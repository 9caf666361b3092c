import { InvalidArgumentError, type Command } from "commander";
import { Output } from "./output.ts";

/** Address of the gateway when neither --address nor $MISTRAL_SAE_ADDRESS is given. */
export const DEFAULT_ADDRESS = "127.0.0.1:50050";

/** What every command gets besides its own arguments. */
export interface CommandContext {
  readonly output: Output;
  /** Aborts at Ctrl-C; hand it to every call and every loop. */
  readonly signal: AbortSignal;
  /** host:port of the gateway's gRPC. */
  readonly address: string;
}

interface GlobalOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly address?: string;
}

/**
 * Makes an async function of (context, positional arguments…, options) a commander action:
 * `.action(run(async ({ output }, folder: string, options: Options) => …))`.
 * A failure is told on stderr and becomes the exit code; the first Ctrl-C aborts the signal, the second ends the process.
 */
export function run<Args extends readonly unknown[]>(
  handler: (context: CommandContext, ...args: Args) => Promise<void>,
): (...received: [...Args, ...unknown[]]) => Promise<void> {
  return async (...received) => {
    const command = received.at(-1) as Command;
    const context = contextOf(command);
    const interrupt = new AbortController();
    const onSignal = (): void => {
      if (interrupt.signal.aborted) process.exit(130);
      interrupt.abort(new DOMException("interrupted", "AbortError"));
    };
    process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
    try {
      await handler({ ...context, signal: interrupt.signal }, ...(received.slice(0, -1) as unknown as Args));
    } catch (error) {
      const code = context.output.failure(interrupt.signal.aborted ? interrupt.signal.reason : error, context.address);
      process.exitCode = code;
    } finally {
      process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
    }
  };
}

/** The command group of this name, made at the first asking: several files add verbs to one group, in any order. */
export function group(parent: Command, name: string, description: string): Command {
  const found = parent.commands.find((command) => command.name() === name);
  return found ?? parent.command(name).description(description);
}

function contextOf(command: Command): Omit<CommandContext, "signal"> {
  const options = command.optsWithGlobals<GlobalOptions>();
  return {
    output: new Output({ json: options.json === true, quiet: options.quiet === true, stdout: process.stdout, stderr: process.stderr }),
    address: options.address ?? process.env["MISTRAL_SAE_ADDRESS"] ?? DEFAULT_ADDRESS,
  };
}

/** Bounds of a number given on the command line, both included. */
export interface NumberBounds {
  readonly min?: number;
  readonly max?: number;
}

/** An option parser for a whole number. */
export function integer(bounds: NumberBounds = {}): (text: string) => number {
  return (text) => {
    const value = Number(text.replaceAll("_", ""));
    if (text.trim() === "" || !Number.isSafeInteger(value)) throw new InvalidArgumentError(`wanted a whole number, got "${text}".`);
    return within(value, text, bounds);
  };
}

/** An option parser for a number. */
export function decimal(bounds: NumberBounds = {}): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError(`wanted a number, got "${text}".`);
    return within(value, text, bounds);
  };
}

/** An option parser for a list of whole numbers joined by commas; given again it adds to the list. */
export function integerList(bounds: NumberBounds = {}): (text: string, before?: readonly number[]) => readonly number[] {
  const one = integer(bounds);
  return (text, before) => [...(before ?? []), ...text.split(",").map((part) => one(part.trim()))];
}

/** An option parser for a list of numbers joined by commas. */
export function decimalList(bounds: NumberBounds = {}): (text: string) => readonly number[] {
  const one = decimal(bounds);
  return (text) => text.split(",").map((part) => one(part.trim()));
}

/** An option parser for an option that may be given again. */
export function repeated(text: string, before?: readonly string[]): readonly string[] {
  return [...(before ?? []), text];
}

/** An option parser for a list of words joined by commas; given again it adds to the list. */
export function wordList(text: string, before?: readonly string[]): readonly string[] {
  return [...(before ?? []), ...text.split(",").map((part) => part.trim()).filter((part) => part !== "")];
}

function within(value: number, text: string, { min, max }: NumberBounds): number {
  if (min !== undefined && value < min) throw new InvalidArgumentError(`wanted at least ${min}, got "${text}".`);
  if (max !== undefined && value > max) throw new InvalidArgumentError(`wanted at most ${max}, got "${text}".`);
  return value;
}
