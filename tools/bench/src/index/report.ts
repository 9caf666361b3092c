/** A figure, and what it has to be where that was promised. */
export interface Reading {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly atMost?: number;
  readonly atLeast?: number;
}

/** Readings as a Markdown table. */
export function readingsTable(readings: readonly Reading[]): string {
  const rows = readings.map(({ name, value, unit, atMost, atLeast }) => {
    const wanted = atMost === undefined ? (atLeast === undefined ? "" : `at least ${number(atLeast)}`) : `at most ${number(atMost)}`;
    const reached = (atMost === undefined || value <= atMost) && (atLeast === undefined || value >= atLeast);
    return `| ${name} | ${number(value)} ${unit} | ${wanted} | ${wanted === "" ? "" : reached ? "reached" : "MISSED"} |`;
  });
  return ["| | value | wanted | |", "|---|--:|--:|---|", ...rows].join("\n");
}

export function number(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString("en-US") : value.toPrecision(3);
}
