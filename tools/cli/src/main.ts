import { Socket } from "node:net";
import { CommanderError, type Command } from "commander";
import { ExitCode } from "./failure.ts";
import { buildProgram } from "./program.ts";

const wantsJson = process.argv.includes("--json");
endWithLauncher();
try {
  const program = buildProgram();
  if (wantsJson) silenceErrors(program);
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  // Commander has told the user already, but never as JSON; help and version are no faults.
  process.exitCode = error.exitCode === 0 ? ExitCode.ok : ExitCode.badInput;
  if (error.exitCode !== 0 && wantsJson) process.stderr.write(`${JSON.stringify({ error: usageFailure(error) })}\n`);
}

function silenceErrors(command: Command): void {
  command.configureOutput({ outputError: () => undefined }).showHelpAfterError(false);
  for (const child of command.commands) silenceErrors(child);
}

function usageFailure(error: CommanderError): Record<string, unknown> {
  const message = error.code === "commander.help" ? "no command given" : error.message.replace(/^error: /, "");
  return { message, exitCode: ExitCode.badInput, hint: "add --help for usage" };
}

/** Ends this process when the launcher that waits for it is killed. */
function endWithLauncher(): void {
  const descriptor = process.env["MISTRAL_SAE_LAUNCHER_FD"];
  if (descriptor === undefined) return;
  delete process.env["MISTRAL_SAE_LAUNCHER_FD"];
  const pipe = new Socket({ fd: Number(descriptor), readable: true, writable: false });
  pipe.on("error", () => undefined).on("close", () => process.kill(process.pid, "SIGTERM"));
  pipe.resume().unref();
}
