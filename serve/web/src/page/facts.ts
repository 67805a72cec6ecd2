/** What stands behind an answer: the scan's facts, the model's manifest, and what the audit here found. */
import type { Contract } from "../model/present.ts";
import type { Loaded, Place, Scan } from "../messages.ts";
import { range } from "../read/scan.ts";
import { element, figure, table } from "./dom.ts";
import { isColour } from "./windows.ts";

/** The figures of a run that are shown, at the operating threshold; the manifest below has all of them. */
const FIGURES = [
  ["auc", "AUC"],
  ["accuracy_at_threshold", "accuracy"],
  ["sensitivity", "sensitivity"],
  ["specificity", "specificity"],
  ["ece_calibrated", "calibration error"],
] as const;

type Rows = (readonly [string, string | Node])[];

/** A model of the site, by models.json; one that a person brought has no files beside it. */
export interface Listed {
  readonly name: string;
  readonly path: string | null;
  readonly sha256: string | null;
  readonly files: readonly string[];
  /** Of which kind its scans are, in a person's words; null where the site does not say. */
  readonly kind: string | null;
  /** Which scans it reads; null where the site does not say. */
  readonly contract: Contract | null;
  /** What it was trained on. */
  readonly dataset: string | null;
}

export function scanFacts(scan: Scan, name: string, notes: readonly string[], centre: Place | null): Node[] {
  const [low, high] = range(scan.pixels);
  const values = `${figure(low, 6)} to ${figure(high, 6)}, ${scan.units === "HU" ? "Hounsfield units" : "as stored"}`;
  const rows: Rows = [
    ["Name", name],
    ["Size", scan.shape.join(" × ")],
    ["Spacing", scan.spacing ? `${scan.spacing.map((mm) => figure(mm, 3)).join(" × ")} mm` : "not known"],
    ["Modality", scan.modality ?? "not known"],
    ["Values", values],
  ];
  if (scan.shape.length === 3 && !isColour(scan) && !scan.oriented) {
    rows.push(["Orientation", "not known; planes are named as if the slices ran from the feet to the head"]);
  }
  if (centre) rows.push(["Looked at", `the voxel ${centre.join(", ")} (slice, row, column, from 0)`]);
  const all = [...scan.notes, ...notes];
  const list = all.length ? [element("ul", { class: "notes" }, ...all.map((note) => element("li", {}, note)))] : [];
  return [table(rows), ...list];
}

export function modelFacts(listed: Listed, { manifest, bytes, sha256 }: Loaded): Node[] {
  const { input, operating, parameters, provenance, metrics } = manifest;
  const share = (value: number) => value.toFixed(3);
  const count = (value: number | null) => (value === null ? "not printed" : value.toLocaleString("en-US"));
  const axes = input.size.length === 3 ? "slices × rows × columns" : "rows × columns";
  const points = `${input.size.join(" × ")} (${axes})`;
  const extent = input.spacing?.map((mm, axis) => figure(mm * input.size[axis]!, 4)).join(" × ");
  const seen = extent ? `${extent} mm around a point, as ${points}` : points;
  const figures = (split: "val" | "test") =>
    FIGURES.flatMap(([name, words]) => {
      const value = metrics[split]?.[name];
      return typeof value === "number" ? [`${words} ${share(value)}`] : [];
    }).join(", ");
  const rows: Rows = [
    ["Model", `${manifest.model} (${manifest.paper})`],
    ["Labels", manifest.labels.join(" / ")],
    ["Reads", `${{ grey: "grey values", hu: "Hounsfield units", mask: "a mask", relative: "values without a unit" }[input.values]}, any size`],
    [input.spacing ? "Looks at" : "Resized in the file to", seen],
    ["Threshold", `${share(operating.threshold)}: ${operating.rule}`],
    ["Temperature", figure(manifest.temperature, 4)],
    ["Parameters, published", count(parameters.published)],
    ["Parameters, trainable", count(parameters.trainable)],
    ["Parameters, effective", count(parameters.effective)],
    ["Parameters, stored", count(parameters.stored)],
    ["Trained on", provenance.dataset],
    ["Recipe", `${String(provenance["recipe"])}, seed ${String(provenance["seed"])}, ${String(provenance["weights"])} weights`],
    ["Test", figures("test") || "not measured"],
    ["Validation", figures("val") || "not measured"],
    ["File", `${bytes.toLocaleString("en-US")} bytes, ${manifest.precision}${manifest.profile ? `, profile ${manifest.profile}` : ""}`],
    ["SHA-256", element("code", {}, sha256)],
    ["Intended use", manifest.intended_use],
  ];
  const folder = listed.path?.replace(/[^/]*$/, "");
  const links = listed.files.map((file) =>
    element("a", { href: `${folder}${file}`, target: "_blank", rel: "noopener" }, file),
  );
  const beside = links.length ? [element("p", { class: "links" }, ...links.flatMap((link) => [link, " "]))] : [];
  const json = element("pre", { tabindex: 0 }, JSON.stringify(manifest, null, 2));
  return [table(rows), ...beside, element("details", {}, element("summary", {}, "The manifest as it is in the file"), json)];
}

export function auditFacts(listed: Listed, { manifest, audit }: Loaded): Node[] {
  const fine = audit.problems.length === 0;
  const verdict = fine
    ? `Every one of the ${audit.stored} tensors in the file is the one that was exported.`
    : `${audit.stored - audit.sound} of ${audit.stored} tensors are not those that were exported.`;
  const rows: Rows = [
    ["Manifest", "its checksum is the one in the file"],
    ["File", listed.sha256 ? "its SHA-256 is the one that this site names" : "your own; no site vouches for it"],
    ["Tensors", verdict],
  ];
  const problems = audit.problems.length
    ? [element("ul", { class: "notes warning" }, ...audit.problems.slice(0, 20).map((problem) => element("li", {}, problem)))]
    : [];
  const head = ["tensor", "kind", "what it is", "digest"].map((name) => element("th", { scope: "col" }, name));
  const lines = Object.entries(manifest.initializers).map(([name, { kind, how, digest }]) =>
    element("tr", {}, ...[name, kind, how, `${digest.slice(0, 12)}…`].map((text) => element("td", {}, text))),
  );
  const list = element(
    "div",
    { class: "scrolled", tabindex: 0, role: "group", "aria-label": "All tensors of the file" },
    element("table", { class: "tensors" }, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...lines)),
  );
  return [
    element("p", { class: "badges" }, element("span", { class: `badge ${fine ? "fine" : "unlike"}` }, fine ? "Sound" : "Changed")),
    table(rows),
    ...problems,
    element("details", {}, element("summary", {}, `All ${lines.length} tensors, and where each comes from`), list),
    element("p", { class: "small" }, "The command “liquidlens audit” also compares the graph, and counts synapses and operations."),
  ];
}
