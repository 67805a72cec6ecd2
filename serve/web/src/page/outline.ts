/** The box of what a model sees, over the slices that NiiVue draws. */
import { Niivue, SLICE_TYPE } from "@niivue/niivue";
import type { FieldOfView } from "../messages.ts";
import { svg } from "./dom.ts";

/** Of the axes (slices, rows, columns), which one each plane cuts across, and which run down and to the side in it. */
const PLANES = new Map([
  [SLICE_TYPE.AXIAL, [0, 1, 2]],
  [SLICE_TYPE.CORONAL, [1, 0, 2]],
  [SLICE_TYPE.SAGITTAL, [2, 0, 1]],
] as const);

/** Draws the box of a field of view into `frame`, which lies over the canvas, whenever it draws the slices. */
export class Outlined extends Niivue {
  readonly frame = svg("svg", { class: "view", "aria-hidden": "true", preserveAspectRatio: "none" });
  private view: FieldOfView | null = null;
  private shape: readonly number[] = [];

  /** shape: of the volume, (slices, rows, columns). */
  outline(view: FieldOfView | null, shape: readonly number[]): void {
    [this.view, this.shape] = [view, shape];
    this.drawOutline();
  }

  override drawScene(): string | void {
    const words = super.drawScene();
    this.drawOutline();
    return words;
  }

  private drawOutline(): void {
    const { view, canvas } = this;
    this.frame.replaceChildren();
    if (!view || !canvas) return;
    this.frame.setAttribute("viewBox", `0 0 ${canvas.width} ${canvas.height}`);
    this.screenSlices.forEach(({ axCorSag, leftTopWidthHeight }, tile) => {
      const axes = PLANES.get(axCorSag as never);
      if (!axes) return; // the volume in 3D
      const [left, top, width, height] = leftTopWidthHeight as [number, number, number, number];
      const [across, down, right] = axes;
      const at = this.voxel(tile, left + width / 2, top + height / 2)[across]!;
      if (at < view.box[across]![0] || at > view.box[across]![1]) return;
      // Voxels lie evenly in a picture, so two places tell where all others are.
      const first = this.voxel(tile, left + width / 4, top + height / 4);
      const last = this.voxel(tile, left + (3 * width) / 4, top + (3 * height) / 4);
      const place = (axis: number, size: number, voxel: number) =>
        size * (0.25 + (0.5 * (voxel - first[axis]!)) / (last[axis]! - first[axis]!));
      const [x1, x2] = view.box[right]!.map((edge) => place(right, width, edge)).sort((a, b) => a - b) as [number, number];
      const [y1, y2] = view.box[down]!.map((edge) => place(down, height, edge)).sort((a, b) => a - b) as [number, number];
      const rect = svg("rect", { x: x1, y: y1, width: x2 - x1, height: y2 - y1 });
      this.frame.append(svg("svg", { x: left, y: top, width, height }, rect)); // what is beyond the picture is not drawn
    });
  }

  /** The voxel (slice, row, column) that a picture shows at a place of the canvas, in fractions. */
  private voxel(tile: number, x: number, y: number): number[] {
    const [toLeft, fromBack, fromBelow] = this.screenXY2TextureFrac(x, y, tile, false);
    const shares = [fromBelow!, 1 - fromBack!, 1 - toLeft!];
    return shares.map((share, axis) => share * this.shape[axis]! - 0.5);
  }
}
