/** The sentences that a person reads about a model; those of `serve.demo.answer`. */
import type { Manifest } from "../messages.ts";
import { trainedOn } from "../model/manifest.ts";
import { VALID_INPUT } from "../model/valid-input.ts";
import { element, figure } from "./dom.ts";

/** What the model distinguishes, what it may be given, and what it was trained on. */
export function about(manifest: Manifest): HTMLElement {
  const auc = manifest.metrics.test?.["auc"];
  const quality = typeof auc === "number" ? `, test AUC ${auc.toFixed(3)}` : "";
  const { channels, values, spacing, size } = manifest.input;
  const extent = spacing?.map((mm, axis) => figure(mm * size[axis]!, 4)).join(" × ");
  const [before, strong, after] = VALID_INPUT[channels === 3 ? "colour" : values].split("*");
  return element(
    "p",
    {},
    element("b", {}, manifest.model),
    ` on ${manifest.provenance.dataset}: ${manifest.labels.join(" / ")}; `,
    `${manifest.parameters.trainable.toLocaleString("en-US")} parameters${quality}.`,
    element("br"),
    before!,
    element("b", {}, strong!),
    after!,
    spacing ? ` Of a larger scan it looks at ${extent} mm around the point that you click.` : null,
    manifest.trained_on ? ` Trained on ${trainedOn(manifest.trained_on)}.` : null,
  );
}
