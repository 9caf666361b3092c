import { svg } from "./dom.ts";
import { count, short } from "./format.ts";

const WIDTH = 420;
const HEIGHT = 130;
const LEFT = 34;
const BOTTOM = 16;

/** Counts between edges as bars on a logarithmic scale. */
export function histogram(edges: readonly number[], counts: readonly number[], label: string): SVGElement {
  const top = Math.log10(1 + Math.max(1, ...counts));
  const step = (WIDTH - LEFT) / Math.max(1, counts.length);
  const plot = HEIGHT - BOTTOM;
  const bars = counts.map((n, at) => {
    const height = (Math.log10(1 + n) / top) * (plot - 8);
    const range = `${short(edges[at])} to ${short(edges[at + 1])}`;
    return svg("rect.plot", { x: LEFT + at * step, y: plot - height, width: Math.max(0.5, step - 1), height }, svg("title", {}, `${range}: ${count(n)}`));
  });
  const decades = Array.from({ length: Math.floor(top) + 1 }, (_, power) => {
    const y = plot - (Math.log10(1 + 10 ** power) / top) * (plot - 8);
    return svg("text", { x: LEFT - 4, y: y + 3, "text-anchor": "end" }, power < 4 ? String(10 ** power) : `1e${power}`);
  });
  return frame(label, [...bars, ...decades, ...ends(edges[0], edges.at(-1))]);
}

/** Values over steps as a curve. */
export function curve(points: readonly (readonly [number, number])[], label: string): SVGElement {
  const finite = points.filter(([, y]) => Number.isFinite(y));
  if (finite.length < 2) return frame(label, [svg("text", { x: LEFT, y: HEIGHT / 2 }, "no points yet")]);
  const xs = finite.map(([x]) => x);
  const ys = finite.map(([, y]) => y);
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const plot = HEIGHT - BOTTOM;
  const place = ([x, y]: readonly [number, number]): string => {
    const px = LEFT + ((x - x0) / Math.max(1e-12, x1 - x0)) * (WIDTH - LEFT);
    // A curve that never moves lies in the middle.
    const share = y1 === y0 ? 0.5 : (y - y0) / (y1 - y0);
    const py = plot - 4 - share * (plot - 12);
    return `${px.toFixed(1)},${py.toFixed(1)}`;
  };
  return frame(label, [
    svg("polyline.curve", { points: finite.map(place).join(" ") }),
    svg("text", { x: LEFT - 4, y: 12, "text-anchor": "end" }, short(y1)),
    svg("text", { x: LEFT - 4, y: plot - 2, "text-anchor": "end" }, short(y0)),
    ...ends(x0, x1),
  ]);
}

function ends(first: number | undefined, last: number | undefined): SVGElement[] {
  return [
    svg("text", { x: LEFT, y: HEIGHT - 3 }, short(first)),
    svg("text", { x: WIDTH, y: HEIGHT - 3, "text-anchor": "end" }, short(last)),
  ];
}

function frame(label: string, children: readonly SVGElement[]): SVGElement {
  const plot = HEIGHT - BOTTOM;
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label },
    svg("line.axis", { x1: LEFT, y1: plot, x2: WIDTH, y2: plot }),
    ...children,
  );
}
