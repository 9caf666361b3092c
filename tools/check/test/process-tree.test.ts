import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { processTree, whenEnded } from "../src/acceptance/process-tree.ts";

const GRANDCHILD = "setTimeout(() => {}, 60000)";
const PARENT = `const child = require("node:child_process").spawn(process.execPath, ["-e", ${JSON.stringify(GRANDCHILD)}], { detached: true, stdio: "ignore" });
process.stdout.write(String(child.pid)); setTimeout(() => {}, 60000);`;

describe.skipIf(!existsSync("/proc/self/stat"))("the tree of processes", () => {
  it("tells a process that outlives its killed parent", async () => {
    const parent = spawn(process.execPath, ["-e", PARENT], { stdio: ["ignore", "pipe", "inherit"] });
    const [line] = (await once(parent.stdout, "data")) as [Buffer];
    const orphan = Number(line.toString());
    const tree = processTree(parent.pid ?? 0);
    expect(tree.map(({ pid }) => pid)).toEqual([parent.pid, orphan]);
    const ended = once(parent, "exit");
    parent.kill("SIGKILL");
    await ended;
    await expect(whenEnded(tree, 100)).rejects.toThrow(`still running after 100 ms: ${orphan} `);
    process.kill(orphan, "SIGKILL");
    await whenEnded(tree, 5000);
  });
});
