/**
 * Loaded before a service (node --import): answers messages from its parent with the lag of its event loop and its
 * memory. `{"begin": true}` forgets what was seen before.
 */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { isMainThread } from "node:worker_threads";

/** How a process stands. Milliseconds and bytes. */
export interface ProcessState {
  /** How late a timer of 1 ms was. */
  readonly lagP50: number;
  readonly lagP99: number;
  readonly lagMax: number;
  readonly rss: number;
  readonly peakRss: number;
  /** CPU of all threads since the start. */
  readonly cpuMs: number;
}

const resolution = 1;

// Worker threads of the service load this file too.
if (isMainThread && process.send !== undefined) {
  const histogram = monitorEventLoopDelay({ resolution });
  histogram.enable();
  const lag = (ns: number): number => Math.max(0, ns / 1e6 - resolution);
  process.on("message", (message: { readonly begin?: boolean }) => {
    const { user, system } = process.cpuUsage();
    process.send?.({
      lagP50: lag(histogram.percentile(50)),
      lagP99: lag(histogram.percentile(99)),
      lagMax: lag(histogram.max),
      rss: process.memoryUsage.rss(),
      peakRss: process.resourceUsage().maxRSS * 1024,
      cpuMs: (user + system) / 1000,
    } satisfies ProcessState);
    if (message.begin === true) histogram.reset();
  });
  process.channel?.unref();
}
