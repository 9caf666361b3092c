// Sets the clone up with nothing but a stock node and npm, then runs what was asked for under the Node 24 that npm
// brought: `node tools/setup.mjs [start|test|bench] [arguments]`. Plain JavaScript, so that Node 20 can run it.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = join(root, "node_modules", ".bin");
const stamp = join(root, "node_modules", ".mistral-sae-installed");
const [verb = "setup", ...rest] = process.argv.slice(2);

const environment = {
  ...process.env,
  PATH: bin + delimiter + (process.env.PATH ?? ""),
  // The packages carry what is needed; their install scripts would only fetch GPU libraries.
  ONNXRUNTIME_NODE_INSTALL: process.env.ONNXRUNTIME_NODE_INSTALL ?? "skip",
  NX_DAEMON: "false",
  // npm runs scripts in the project's root; paths on the command line are meant from where the user stood.
  MISTRAL_SAE_CWD: process.env.INIT_CWD ?? process.cwd(),
};

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, env: environment, stdio: "inherit", ...options });
  if (result.error) throw result.error;
  return result.status ?? 1;
}

/** Runs a step of the set-up quietly; where it fails, what it printed is shown. */
function must(what, command, args) {
  const result = spawnSync(command, args, { cwd: root, env: environment, encoding: "utf8", maxBuffer: 1 << 28 });
  if (result.status === 0) return;
  console.error(`${result.stdout ?? ""}${result.stderr ?? ""}${result.error ?? ""}`);
  console.error(`mistral-sae: ${what} failed with exit code ${result.status}: ${command} ${args.join(" ")}`);
  process.exit(result.status ?? 1);
}

function install() {
  const hash = createHash("sha256");
  for (const file of ["package.json", "package-lock.json"]) hash.update(readFileSync(join(root, file)));
  const wanted = hash.digest("hex");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return;
  console.error("mistral-sae: installing the packages (a minute or two, once)");
  // `npm install`, not `npm ci`: where the registry lacks other platforms' optional binaries the lock omits them.
  must("installing the packages", "npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
  writeFileSync(stamp, wanted);
}

function generate() {
  must("generating the contracts and kernels", process.execPath, [
    join(root, "node_modules", "nx", "dist", "bin", "nx.js"),
    "run-many",
    "-t",
    "generate",
    "--outputStyle=static",
  ]);
}

const node = () => (existsSync(join(bin, "node")) ? join(bin, "node") : process.execPath);

if (Number(process.versions.node.split(".")[0]) < 20) {
  console.error(`mistral-sae: got Node ${process.versions.node}, wanted 20 or newer`);
  process.exit(1);
}
install();
switch (verb) {
  case "setup":
    generate();
    break;
  case "start":
    generate();
    process.exit(run(node(), [join(root, "tools", "cli", "src", "main.ts"), "demo", ...rest]));
    break;
  case "test":
    delete environment.MISTRAL_SAE_CWD;
    process.exit(run(node(), [join(root, "tools", "check", "src", "test.ts"), ...rest]));
    break;
  case "bench":
    generate();
    process.exit(run(node(), [join(root, "tools", "bench", "src", "main.ts"), ...rest]));
    break;
  default:
    console.error(`mistral-sae: got ${verb}, wanted setup, start, test or bench`);
    process.exit(2);
}
