import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ServiceName, ServiceSpec } from "../../src/up/services.ts";

const SERVICE = `
import { createServer } from "node:net";
import { appendFileSync, mkdirSync } from "node:fs";
const { MISTRAL_SAE_LISTEN: listen, MISTRAL_SAE_DATA: data, FAKE_ORDER: order, FAKE_NAME_FAILS: fails } = process.env;
const name = new URL("..", import.meta.url).pathname.split("/").at(-2);
const [host, port] = listen.split(":");
if (fails === name) { console.error("the disk is upside down"); process.exit(7); }
mkdirSync(data, { recursive: true });
const server = createServer((socket) => socket.on("data", (text) => { if (String(text) === "die") process.exit(9); }).on("error", () => undefined));
server.on("error", (error) => { console.error(String(error)); process.exit(1); });
server.listen(Number(port), host, () => {
  appendFileSync(order, "up " + name + "\\n");
  console.log(JSON.stringify({ ready: name, address: listen }));
  console.log(JSON.stringify(Object.fromEntries(Object.entries(process.env).filter(([key]) => key.startsWith("MISTRAL_SAE_")))));
});
const stop = () => { appendFileSync(order, "down " + name + "\\n"); process.exit(0); };
process.on("SIGTERM", stop);
process.stdin.on("end", () => process.exit(0)).resume();
`;

/** Three small services in a folder, as the project's own lie in theirs. */
export const fakeSpecs: readonly ServiceSpec[] = [
  { name: "inference", port: 0, addressVariable: "MISTRAL_SAE_INFERENCE", after: [] },
  { name: "training", port: 0, addressVariable: "MISTRAL_SAE_TRAINING", after: ["inference"] },
  { name: "gateway", port: 0, after: ["training"] },
];

/** Writes the services; each listens, says that it is ready, and ends with its standard input. */
export function writeFakeServices(folder: string): void {
  for (const { name } of fakeSpecs) {
    mkdirSync(join(folder, name satisfies ServiceName, "src"), { recursive: true });
    writeFileSync(join(folder, name, "src/main.ts"), SERVICE);
  }
  writeFileSync(join(folder, "package.json"), '{"type":"module"}');
}
