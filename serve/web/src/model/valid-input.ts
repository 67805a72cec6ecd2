import type { Manifest } from "./manifest.ts";

/** What to give a model, by the kind of values that it reads; the sentences of `liquidlens.words`. */
export const VALID_INPUT: Record<Manifest["input"]["values"] | "colour", string> = {
  mask:
    "Give it only a *segmented, cropped shape*: one structure, bright inside and 0 outside. " +
    "A CT or an MR image is not a valid input.",
  hu:
    "Give it a *CT crop in Hounsfield units* around the structure in question. " +
    "MR, X-ray and segmented shapes are not valid inputs.",
  relative:
    "Give it *a scan of the same kind as its training scans*, of MR for example: " +
    "only how its values lie to each other matters.",
  grey: "Give it an image of the same kind as its training images, *in grey values of 8 or 16 bits*.",
  colour: "Give it *a colour image*.",
};
