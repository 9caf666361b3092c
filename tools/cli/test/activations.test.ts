import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import type { RunningServer } from "@mistral-sae/rpc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startFakeGateway, type Asked } from "./support/fake-gateway.ts";
import { runCli, type CliRun } from "./support/run-cli.ts";

let server: RunningServer;
let asked: Asked;
beforeAll(async () => {
  ({ server, asked } = await startFakeGateway());
});
afterAll(() => server.close(0));

const cli = (...args: readonly string[]): Promise<CliRun> => runCli(["--address", server.address, ...args]);

describe("activations", () => {
  it("imports files and tells the set that they became", async () => {
    const { code, stdout } = await cli("activations", "import", "/rows/a.npy", "/rows/b-*.safetensors", "--tensor", "acts", "--hook-name", "blocks.1.hook_resid_pre", "--model", "other", "--activation-dtype", "bf16");
    expect(code).toBe(0);
    expect(asked.harvest.at(-1)).toMatchObject({ uri: "/rows/a.npy\n/rows/b-*.safetensors", tensor: "acts", hookName: "blocks.1.hook_resid_pre", model: "models/other", activationDtype: DataType.BF16 });
    expect(stdout).toMatch(/name\s+activationSets\/rows/);
    expect(stdout).toMatch(/tokens\s+20,000/);
  });

  it("lists and deletes sets", async () => {
    expect((await cli("activations", "list")).stdout).toMatch(/activationSets\/rows\s+blocks\.1\.hook_resid_pre\s+24\s+20,000\s+3/);
    expect((await cli("activations", "delete", "rows")).stdout).toBe("deleted activationSets/rows\n");
    expect((await cli("activations", "rm", "activationSets/other")).code).toBe(3);
  });
});
