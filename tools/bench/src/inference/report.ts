import { loadavg } from "node:os";
import type { GaugeReport } from "./gauges.ts";
import type { CellReport, Figures, Ratio } from "./measure.ts";

/** Head of the Markdown table that {@link tableRows} fills. */
export function tableHead(threads: number): string {
  return `${threads} threads, load ${loadavg()[0]!.toFixed(1)}; ratio = the rival's wall time over ours, above 1 ours is the faster\n\n| cell | ours tok/s | rival | tok/s | ratio | rounds | wanted | |\n|---|--:|---|--:|--:|---|--:|---|`;
}

/** One row a rival. */
export function tableRows({ id, figures, ratios, missing }: CellReport): string {
  const [ours, ...others] = figures;
  const own = ours === undefined ? "–" : rate(ours);
  const rows = ratios.map((ratio, i) => row(id, own, ratio, others[i]!));
  if (rows.length === 0 && ours !== undefined) rows.push(`| ${id} | ${own} | – | | | | | |`);
  return [...rows, ...missing.map((reason) => `| ${id} | ${own} | not measured: ${reason.replaceAll(/\s+/g, " ")} | | | | | |`)].join("\n");
}

/** Head of the Markdown table that {@link gaugeRows} fills. */
export function gaugeHead(): string {
  return "\n| cell | | value | at most | |\n|---|---|--:|--:|---|";
}

/** One row a reading. */
export function gaugeRows({ id, readings, missing }: GaugeReport): string {
  const number = (value: number): string => (value >= 100 ? Math.round(value).toLocaleString("en-US") : value.toPrecision(3));
  const rows = readings.map(({ name, value, unit, atMost }) => {
    const verdict = atMost === undefined ? "" : value <= atMost ? "reached" : "MISSED";
    return `| ${id} | ${name} | ${number(value)} ${unit} | ${atMost === undefined ? "" : number(atMost)} | ${verdict} |`;
  });
  return [...rows, ...missing.map((reason) => `| ${id} | not measured: ${reason.replaceAll(/\s+/g, " ")} | | | |`)].join("\n");
}

function row(id: string, own: string, { rival, ratio, lowest, highest, wanted }: Ratio, figures: Figures): string {
  const verdict = wanted === undefined ? "" : ratio >= wanted ? "reached" : "MISSED";
  return `| ${id} | ${own} | ${rival} | ${rate(figures)} | ${ratio.toFixed(3)} | ${lowest.toFixed(2)}–${highest.toFixed(2)} | ${wanted?.toFixed(2) ?? ""} | ${verdict} |`;
}

function rate({ tokens_per_second: value }: Figures): string {
  return value >= 100 ? Math.round(value).toLocaleString("en-US") : value.toFixed(1);
}
