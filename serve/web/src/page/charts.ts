/** Explanations as drawings: slices' contributions, and states of neurons over the steps; as `serve.explain.drawing`. */
import type { NeuronTrace, SliceContribution } from "../messages.ts";
import { element, figure, svg } from "./dom.ts";

/** Of the plots; of a page that was opened on a phone, 230. */
const WIDTH = matchMedia("(max-width: 40rem)").matches ? 230 : 560;
const [LEFT, TOP, RIGHT] = [90, 12, 14];
/** Of each colour; cells of one level are one path. */
const LEVELS = 20;
const TYPES: Record<string, string> = { i: "inter", c: "command", m: "motor" };

/** A bar per slice, upwards if it speaks for the label; the sum of the bars is the label's logit. */
export function slicesChart({ label, contribution, positions }: SliceContribution): HTMLElement {
  const high = Math.max(0, ...contribution);
  const low = Math.min(0, ...contribution);
  const wide = WIDTH / contribution.length;
  const pixels = 120 / (high - low || 1);
  const zero = TOP + pixels * high;
  const bars = contribution.map((value, i) =>
    svg(
      "rect",
      {
        x: LEFT + wide * (i + 0.1),
        y: zero - pixels * Math.max(value, 0),
        width: wide * 0.8,
        height: pixels * Math.abs(value),
        class: value > 0 ? "above" : "below",
      },
      svg("title", {}, `slice ${figure(positions[i]! + 1, 3)}: ${signed(value, 3)}`),
    ),
  );
  const extreme = contribution.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
  const parts = [
    ...bars,
    svg("line", { x1: LEFT, x2: LEFT + WIDTH, y1: zero, y2: zero, class: "frame" }),
    words(LEFT - 8, zero + 4, "0", "tick", "end"),
    extreme ? words(LEFT - 8, zero - pixels * extreme + 4, signed(extreme, 2), "tick", "end") : null,
    ...axis(positions.map((at) => String(Math.round(at + 1))), TOP + 120, "slice of the scan"),
  ];
  return drawing(TOP + 162, `What each of ${contribution.length} slices adds to the logit of ${label}`, parts);
}

/** A row per neuron, inter above command above motor neurons, and a column per step. */
export function traceChart({ states, steps, neurons, wiring }: NeuronTrace): HTMLElement {
  const largest = states.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
  const kinds = Object.keys(TYPES);
  const order = Array.from({ length: neurons }, (_, i) => i).sort(
    (a, b) => kinds.indexOf(wiring.neurons[a]!) - kinds.indexOf(wiring.neurons[b]!) || a - b,
  );
  const high = Math.max(4, Math.min(14, 700 / neurons));
  const wide = WIDTH / steps;
  const bottom = TOP + high * neurons;
  const cells = new Map<number, string>(); // level, below 0 of blue -> path, in units of cells
  order.forEach((neuron, row) => {
    for (let step = 0; step < steps; step++) {
      const level = Math.round((LEVELS * states[step * neurons + neuron]!) / largest);
      if (level) cells.set(level, `${cells.get(level) ?? ""}M${step} ${row}h1v1h-1z`);
    }
  });
  const place = `translate(${LEFT} ${TOP}) scale(${wide.toFixed(4)} ${high.toFixed(4)})`;
  const paths = [...cells].map(([level, path]) =>
    svg("path", { d: path, class: level > 0 ? "above" : "below", "fill-opacity": Math.abs(level) / LEVELS }),
  );
  const parts: (Node | null)[] = [svg("g", { transform: place, "shape-rendering": "crispEdges" }, ...paths)];
  if (high >= 10) order.forEach((n, row) => parts.push(words(LEFT - 6, TOP + high * (row + 0.5) + 3, String(n), "number", "end")));
  let first = 0;
  for (const kind of kinds) {
    const last = first + order.filter((n) => wiring.neurons[n] === kind).length;
    if (last === first) continue;
    parts.push(svg("line", { x1: LEFT, x2: LEFT + WIDTH, y1: TOP + high * first, y2: TOP + high * first, class: "frame" }));
    parts.push(words(LEFT - 24, TOP + (high * (first + last)) / 2 + 4, TYPES[kind]!, "tick", "end"));
    first = last;
  }
  parts.push(svg("rect", { x: LEFT, y: TOP, width: WIDTH, height: bottom - TOP, class: "frame" }));
  parts.push(...axis(Array.from({ length: steps }, (_, i) => String(i + 1)), bottom, "step"));
  parts.push(...scale(largest, LEFT, bottom + 44));
  return drawing(bottom + 78, `States of ${neurons} neurons of ${wiring.layer} over ${steps} steps`, parts);
}

/** The axis below a chart: the names of some of its columns, and what they are. */
function axis(names: readonly string[], bottom: number, title: string): Node[] {
  const wide = WIDTH / names.length;
  const every = Math.max(1, Math.round(names.length / Math.min(14, WIDTH / 24)));
  const ticks = names.flatMap((name, i) =>
    i % every ? [] : [words(LEFT + wide * (i + 0.5), bottom + 16, name, "tick", "middle")],
  );
  return [...ticks, words(LEFT + WIDTH / 2, bottom + 34, title, "title", "middle")];
}

/** The legend: what colour is what state. */
function scale(largest: number, left: number, top: number): Node[] {
  const cell = 14;
  const parts: Node[] = [words(left, top + 11, "state", "tick")];
  for (let i = -6; i <= 6; i++) {
    const look = { class: i > 0 ? "above" : "below", "fill-opacity": Math.abs(i) / 6 };
    parts.push(svg("rect", { x: left + 40 + cell * (i + 6), y: top, width: cell, height: 12, ...look }));
  }
  parts.push(svg("rect", { x: left + 40, y: top, width: cell * 13, height: 12, class: "frame" }));
  for (const [i, value] of [[-6, -largest], [0, 0], [6, largest]] as const) {
    parts.push(words(left + 40 + cell * (i + 6.5), top + 26, figure(value, 3), "tick", "middle"));
  }
  return parts;
}

function words(x: number, y: number, text: string, look: string, anchor = "start"): SVGTextElement {
  return svg("text", { x, y, class: look, "text-anchor": anchor }, text);
}

/** A picture that a narrow page scrolls sideways, with the arrow keys as well. */
function drawing(height: number, label: string, parts: readonly (Node | null)[]): HTMLElement {
  const width = LEFT + WIDTH + RIGHT;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, ...parts);
  picture.style.minWidth = `${0.8 * width}px`; // smaller, nobody could read its words
  return element("div", { class: "chart", tabindex: 0, role: "group", "aria-label": label }, picture);
}

function signed(value: number, digits: number): string {
  return `${value > 0 ? "+" : ""}${digits > 2 ? value.toFixed(3) : figure(value, digits)}`;
}
