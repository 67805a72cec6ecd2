/** The answer as a person reads it: label, probabilities, threshold, badges, time; as `serve.demo.answer`. */
import type { Judged, Loaded } from "../messages.ts";
import { element, figure, percent } from "./dom.ts";

/** milliseconds: for which the scan was read.  notes: what the reader and the model assumed. */
export function answer(
  { manifest, audit, threads }: Loaded,
  model: string,
  name: string,
  judged: Judged,
  milliseconds: number,
  notes: readonly string[],
): Node[] {
  const { prediction } = judged;
  const { operating, labels } = manifest;
  const binary = labels.length === 2 && manifest.task === "classes";
  const marked = binary ? labels.slice(1) : manifest.task === "multi-label" ? labels : [];
  const bars = labels.map((label, i) => {
    const p = prediction.probabilities[i]!;
    const isPredicted = manifest.task === "multi-label" ? p > operating.threshold : label === prediction.label;
    return bar(label, p, marked.includes(label) ? prediction.threshold : null, isPredicted);
  });
  const lines: string[] = [];
  if (marked.length && prediction.threshold !== null) {
    const which = binary ? `“${labels[1]}”` : "a label";
    lines.push(`The mark is the operating threshold: ${which} above ${percent(prediction.threshold)}.`);
  }
  if (operating.abstain) lines.push(`Not sure between ${operating.abstain.map(percent).join(" and ")}.`);
  if (operating.abstain_margin !== null && operating.abstain_margin !== undefined) {
    lines.push(`Not sure if the two likeliest differ by less than ${percent(operating.abstain_margin)}.`);
  }
  const where = prediction.ood ? "above" : "within";
  lines.push(
    `Distance from the training data ${figure(prediction.oodScore, 3)}, ${where} the limit of ${figure(prediction.oodThreshold, 3)}.`,
  );
  const { prepare, run } = judged.milliseconds;
  const on = `In this browser, ${threads} ${threads === 1 ? "thread" : "threads"}`;
  return [
    element("p", { class: "small whose" }, `${model} says of ${name}`),
    element("h2", { class: "label" }, headline(prediction)),
    element(
      "p",
      { class: "badges" },
      prediction.abstained ? badge("unsure", "Not sure") : null,
      prediction.ood ? badge("unlike", "Unlike the training data") : badge("fine", "Like the training data"),
      audit.problems.length ? badge("unlike", "Changed model") : null,
    ),
    ...(audit.problems.length
      ? [element("p", { class: "warning" }, "The model is not the one that was exported, see Audit. Do not rely on its answer.")]
      : []),
    ...(prediction.ood
      ? [element("p", { class: "warning" }, "The scan is unlike those that the model was trained on. Do not rely on its answer.")]
      : []),
    element("div", { class: "bars" }, ...bars),
    ...notes.map((note) => element("p", { class: "small note" }, note)),
    element("p", { class: "small" }, lines.join(" ")),
    element("p", { class: "small" }, `${on}: read ${milliseconds.toFixed(0)} ms, prepare ${prepare.toFixed(1)} ms, run ${run.toFixed(1)} ms.`),
  ];
}

/** What stands in large type: no label where the model's answer is not to be relied on. */
function headline({ ood, abstained, label }: Judged["prediction"]): string {
  return ood ? "Unlike the training data" : abstained ? "Not sure" : label;
}

function badge(kind: string, words: string): HTMLElement {
  return element("span", { class: `badge ${kind}` }, words);
}

function bar(label: string, probability: number, threshold: number | null, isPredicted: boolean): HTMLElement {
  const fill = element("span", { class: "fill" });
  fill.style.width = `${100 * probability}%`;
  const mark = threshold === null ? null : element("span", { class: "mark" });
  if (mark) mark.style.left = `${100 * threshold!}%`;
  return element(
    "div",
    { class: isPredicted ? "bar predicted" : "bar" },
    element("span", {}, label),
    element("span", { class: "figure" }, percent(probability)),
    element("span", { class: "track" }, fill, mark),
  );
}
