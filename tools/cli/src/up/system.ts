import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { CliError, ExitCode } from "../failure.ts";
import { choosePort } from "./ports.ts";
import { lockData, removeRunFile, runningSystem, writeRunFile, type Addresses } from "./run-file.ts";
import { HTTP_PORT, serviceSpecs, type ServiceName, type ServiceSpec } from "./services.ts";
import { StartError, SupervisedProcess, type ProcessExit, type SupervisorOptions } from "./supervised-process.ts";

/** How the system is started. */
export interface SystemOptions {
  /** Folder of everything the services keep; each has its own folder in it. */
  readonly dataDir: string;
  /** Model folders by id, loaded at the start. */
  readonly models?: Readonly<Record<string, string>>;
  /** Threads of all services together; every core by default. */
  readonly threads?: number | undefined;
  /** Aborts the start; a started system is stopped by `stop()`. */
  readonly signal?: AbortSignal;
  /** Interface that is listened on. */
  readonly host?: string;
  /** More environment for every service. */
  readonly env?: Readonly<Record<string, string>>;
  /** Called when a service is ready. */
  readonly onReady?: (service: ServiceName, address: string) => void;
  readonly supervisor?: Partial<SupervisorOptions>;
  /** Services and where their folders are; the project's own by default. */
  readonly specs?: readonly ServiceSpec[];
  readonly servicesDir?: string;
}

/** A running system. */
export interface RunningSystem {
  readonly addresses: Addresses;
  /** Listens for services that end by themselves (they are started again at the same address). */
  onExit(listener: (exit: ProcessExit) => void): void;
  /** Stops all services, those that depend on others first. */
  stop(): Promise<void>;
}

const START_ATTEMPTS = 3;
const SERVICES_DIR = fileURLToPath(new URL("../../../../services", import.meta.url));

/** Starts every service as a child process on loopback ports and keeps them running. */
export async function startSystem(options: SystemOptions): Promise<RunningSystem> {
  const dataDir = resolve(options.dataDir);
  const lock = lockData(dataDir);
  if (lock === undefined) throw alreadyRunning(dataDir);
  try {
    for (let attempt = 1; ; attempt++) {
      try {
        return await launch(dataDir, options, () => lock.release());
      } catch (error) {
        // Another program may have taken a port between the choice and the start.
        const portTaken = error instanceof StartError && /EADDRINUSE|address already in use/i.test(error.logTail);
        if (!portTaken || attempt === START_ATTEMPTS) throw error;
      }
    }
  } catch (error) {
    lock.release();
    if (!(error instanceof StartError)) throw error;
    throw new CliError(`${error.message}\n${indent(error.logTail)}`, ExitCode.failure, {}, error);
  }
}

async function launch(dataDir: string, options: SystemOptions, unlock: () => void): Promise<RunningSystem> {
  const specs = options.specs ?? serviceSpecs;
  const host = options.host ?? "127.0.0.1";
  const plan = await planAddresses(specs, host);
  const listeners = new Set<(exit: ProcessExit) => void>();
  const processes = new Map<ServiceName, SupervisedProcess>();
  const save = (): void => {
    const pids = [...processes].flatMap(([name, { pid }]) => (pid === undefined ? [] : [[name, pid] as const]));
    writeRunFile(dataDir, { pid: process.pid, startedAt: new Date().toISOString(), addresses: plan, pids: Object.fromEntries(pids) });
  };
  for (const { name } of specs) {
    const supervised = new SupervisedProcess(
      {
        name,
        script: join(options.servicesDir ?? SERVICES_DIR, name, "src/main.ts"),
        env: environmentOf(name, plan, dataDir, specs, options),
        logPath: join(dataDir, "logs", `${name}.log`),
      },
      (exit) => {
        for (const listener of listeners) listener(exit);
        setTimeout(save, exit.restartInMs + 50).unref();
      },
      options.supervisor,
    );
    processes.set(name, supervised);
  }
  const stop = async (): Promise<void> => {
    await stopInOrder(specs, processes);
    removeRunFile(dataDir);
    unlock();
  };
  try {
    await startInOrder(specs, processes, options);
  } catch (error) {
    await stopInOrder(specs, processes);
    throw error;
  }
  save();
  return { addresses: plan, onExit: (listener) => listeners.add(listener), stop };
}

async function planAddresses(specs: readonly ServiceSpec[], host: string): Promise<Addresses> {
  const taken = new Set<number>();
  const choose = async (preferred: number): Promise<string> => {
    const port = await choosePort(preferred, host, taken);
    taken.add(port);
    return `${host}:${port}`;
  };
  const services: Partial<Record<ServiceName, string>> = {};
  for (const { name, port } of specs) services[name] = await choose(port);
  const http = `http://${await choose(HTTP_PORT)}`;
  return { gateway: services.gateway ?? "", http, services: services as Record<ServiceName, string> };
}

function environmentOf(
  name: ServiceName,
  plan: Addresses,
  dataDir: string,
  specs: readonly ServiceSpec[],
  { models = {}, threads, env = {} }: SystemOptions,
): Record<string, string> {
  const peers = specs.flatMap(({ name: peer, addressVariable }) =>
    addressVariable === undefined ? [] : [[addressVariable, plan.services[peer]] as const],
  );
  return {
    ...Object.fromEntries(peers),
    // The services start again in about half the time when Node keeps what it compiled.
    NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"] ?? join(dataDir, "compile-cache"),
    MISTRAL_SAE_LISTEN: plan.services[name],
    MISTRAL_SAE_DATA: join(dataDir, name),
    MISTRAL_SAE_THREADS: String(threads ?? availableParallelism()),
    ...(name === "gateway" ? { MISTRAL_SAE_GATEWAY_HTTP_LISTEN: plan.http.slice("http://".length) } : {}),
    ...(name === "inference" && Object.keys(models).length > 0
      ? { MISTRAL_SAE_MODELS: Object.entries(models).map(([id, folder]) => `${id}=${resolve(folder)}`).join("\n") }
      : {}),
    ...env,
  };
}

async function startInOrder(specs: readonly ServiceSpec[], processes: ReadonlyMap<ServiceName, SupervisedProcess>, options: SystemOptions): Promise<void> {
  // One failure must not leave the others starting unseen.
  const abort = new AbortController();
  const signal = options.signal === undefined ? abort.signal : AbortSignal.any([abort.signal, options.signal]);
  const started = new Map<ServiceName, Promise<void>>();
  for (const { name, after } of specs) {
    const run = async (): Promise<void> => {
      await Promise.all(after.map(async (other) => started.get(other)));
      const address = await processes.get(name)?.start(signal);
      if (address !== undefined) options.onReady?.(name, address);
    };
    started.set(name, run());
  }
  const ends = await Promise.allSettled([...started.values()].map((one) => one.catch((error: unknown) => {
    abort.abort(error);
    throw error;
  })));
  const failed = ends.find((end) => end.status === "rejected");
  if (failed !== undefined) throw abort.signal.aborted ? abort.signal.reason : failed.reason;
}

async function stopInOrder(specs: readonly ServiceSpec[], processes: ReadonlyMap<ServiceName, SupervisedProcess>): Promise<void> {
  const stopped = new Map<ServiceName, Promise<void>>();
  for (const { name } of specs.toReversed()) {
    const dependants = specs.filter(({ after }) => after.includes(name)).map(async (spec) => stopped.get(spec.name));
    stopped.set(name, Promise.all(dependants).then(() => processes.get(name)?.stop()));
  }
  await Promise.all(stopped.values());
}

function alreadyRunning(dataDir: string): CliError {
  const run = runningSystem(dataDir);
  const where = run === undefined ? "" : ` (process ${run.pid}, gateway ${run.addresses.gateway}, page ${run.addresses.http})`;
  return new CliError(`a system already runs on ${dataDir}${where}`, ExitCode.badInput, {
    hint: "use it as it is, stop it with Ctrl-C where it runs, or choose another folder with --data",
  });
}

function indent(text: string): string {
  return text.split("\n").map((line) => `    ${line}`).join("\n");
}
