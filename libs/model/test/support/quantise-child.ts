import { prepareQuantised } from "../../src/quantisation/prepare.ts";

// Quantises until it is killed: tells of the first piece, after which its file is half full.
const [modelDir = "", cache = ""] = process.argv.slice(2);
let told = false;
await prepareQuantised(modelDir, "int4", cache, {
  threads: 1,
  onProgress: () => {
    if (!told) process.send?.("under way");
    told = true;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  },
});
