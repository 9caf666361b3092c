#!/usr/bin/env node
// Starts under any Node from 20 on: makes sure that packages and generated code are there,
// then runs the command in the Node of node_modules, which reads TypeScript.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, realpathSync } from "node:fs";
import module from "node:module";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = dirname(dirname(dirname(dirname(realpathSync(fileURLToPath(import.meta.url))))));
const nodePackage = join(root, "node_modules", `node-${process.platform}-${process.arch}`, "bin", "node");
const [major = 0] = process.versions.node.split(".").map(Number);
const node = major < 24 && existsSync(nodePackage) ? nodePackage : process.execPath;

if (!existsSync(join(root, "node_modules"))) fail("the packages are not installed", `run \`npm run setup\` in ${root}`);
if (node === process.execPath && major < 24) {
  fail(`Node ${process.versions.node} cannot run TypeScript sources, and ${nodePackage} is missing`, "run `npm run setup`, or use Node 24 or newer");
}
if (["libs/contracts/gen", "libs/sae/gen"].some((folder) => !existsSync(join(root, folder)))) generate();

const main = join(root, "tools/cli/src/main.ts");
const compileCache = join(root, "node_modules/.cache/mistral-sae");
if (major >= 24) {
  module.enableCompileCache(compileCache);
  await import(pathToFileURL(main).href);
} else {
  respawn();
}

function respawn() {
  // The fourth descriptor is a pipe that nothing is ever written to: it ends when this process does, however it ends.
  const child = spawn(node, [main, ...process.argv.slice(2)], {
    stdio: ["inherit", "inherit", "inherit", "pipe"],
    env: { NODE_COMPILE_CACHE: compileCache, ...process.env, MISTRAL_SAE_LAUNCHER_FD: "3" },
  });
  // A terminal sends Ctrl-C to the whole group: the child decides what it means. Other senders only reach this process.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.on(signal, () => {
      if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
    });
  }
  child.on("error", (error) => fail(`${node} does not start: ${error.message}`, "run `npm run setup`"));
  child.on("exit", (code, signal) => process.exit(code ?? (signal === "SIGINT" ? 130 : 143)));
}

function generate() {
  const path = [dirname(node), join(root, "node_modules/.bin"), process.env.PATH].join(":");
  const made = spawnSync(node, [join(root, "node_modules/nx/dist/bin/nx.js"), "run-many", "-t", "generate", "--outputStyle=static"], {
    cwd: root,
    env: { ...process.env, PATH: path, NX_DAEMON: "false" },
    stdio: ["ignore", "pipe", "pipe"],
    encoding: "utf8",
  });
  if (made.status !== 0) fail(`code generation failed:\n${made.stdout ?? ""}${made.stderr ?? ""}`, "run `npm run generate`");
}

function fail(message, hint) {
  process.stderr.write(`error: ${message}\n  hint:   ${hint}\n`);
  process.exit(1);
}
