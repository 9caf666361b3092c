import { createServer } from "node:net";

/** The port if nothing listens on it at this host, else a free one that is not in `taken`. */
export async function choosePort(preferred: number, host: string, taken: ReadonlySet<number>): Promise<number> {
  if (preferred !== 0 && !taken.has(preferred) && (await tryListen(preferred, host)) !== undefined) return preferred;
  for (let attempt = 0; attempt < 20; attempt++) {
    const port = await tryListen(0, host);
    if (port !== undefined && !taken.has(port)) return port;
  }
  throw new Error(`no free port on ${host}`);
}

function tryListen(port: number, host: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(undefined));
    server.listen({ port, host, exclusive: true }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : undefined));
    });
  });
}
