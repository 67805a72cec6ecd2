/** The viewer: slices along three axes, an image, or the volume in 3D, drawn by NiiVue. */
import { DRAG_MODE, MULTIPLANAR_TYPE, SHOW_RENDER, SLICE_TYPE } from "@niivue/niivue";
import type { FieldOfView, Place, Scan } from "../messages.ts";
import { product } from "../read/scan.ts";
import { element } from "./dom.ts";
import { asNifti } from "./nifti-file.ts";
import { Outlined } from "./outline.ts";
import { isColour, isMask, presets, type Window } from "./windows.ts";

/** A smaller picture is shown as the blocks that it consists of. */
const SMOOTH_FROM = 96;
const MAGNIFIED = 8;
/** Width of the lines that cross at the chosen voxel, in percent of the volume. */
const CROSSHAIR = 0.6;
/** From the front, a little from the patient's left and from above. */
const [AZIMUTH, ELEVATION] = [160, 18];

/** Voxels of the largest volume that is drawn in 3D beside its slices; of a larger one each drawing takes its time. */
const BESIDE_SLICES = 2 ** 24;

const PLANES = ["Axial", "Coronal", "Sagittal"] as const;
const VIEWS = {
  "All views": SLICE_TYPE.MULTIPLANAR,
  Axial: SLICE_TYPE.AXIAL,
  Coronal: SLICE_TYPE.CORONAL,
  Sagittal: SLICE_TYPE.SAGITTAL,
  "3D": SLICE_TYPE.RENDER,
} as const;
type View = keyof typeof VIEWS;

/** Draws one scan at a time into `place`. */
export class Viewer {
  private readonly niivue: Outlined;
  private readonly canvas = element("canvas", { tabindex: -1, role: "img" });
  private readonly controls = element("div", { class: "controls" });
  private readonly ready: Promise<unknown>;
  private scan: Scan | undefined;
  private newest: Scan | undefined;
  private last = Promise.resolve();
  private view: View = "All views";
  private sliders: HTMLInputElement[] = [];
  private looked: FieldOfView | null = null;

  /** point: is told where a person clicks or moves the slices, if the model sees a part of the scan. */
  constructor(
    private readonly place: HTMLElement,
    private readonly point: (place: Place) => void,
  ) {
    this.niivue = new Outlined({
      logLevel: "error",
      loadingText: "",
      dragAndDropEnabled: false,
      isRadiologicalConvention: true,
      sagittalNoseLeft: true,
      isColorbar: false,
      showAllOrientationMarkers: true,
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.37, 0.92, 0.83, 0.45],
      crosshairWidth: CROSSHAIR,
      crosshairWidthUnit: "percent",
      fontColor: [1, 1, 1, 1],
      show3Dcrosshair: false,
      multiplanarShowRender: SHOW_RENDER.ALWAYS,
      multiplanarLayout: MULTIPLANAR_TYPE.GRID,
      multiplanarEqualSize: true,
      dragMode: DRAG_MODE.pan,
      viewModeHotKey: "",
      clipPlaneHotKey: "",
      cycleClipPlaneHotKey: "",
      scrollRequiresFocus: true,
    });
    const stages = element("div", { class: "stages" }, this.canvas, this.niivue.frame);
    this.leaveSwipesToThePage(stages);
    this.place.replaceChildren(stages, this.controls);
    this.ready = this.niivue.attachToCanvas(this.canvas);
    this.niivue.onLocationChange = () => this.follow();
    this.canvas.addEventListener("click", () => this.pointAt());
    this.controls.addEventListener("change", ({ target }) => {
      if (this.sliders.some((slider) => slider === target)) this.pointAt();
    });
  }

  /** Show a scan, after those before it; not if another one was asked for in the meantime.  view: as of `look`. */
  show(scan: Scan, view: FieldOfView | null): Promise<void> {
    this.newest = scan;
    this.looked = view;
    const draw = async () => {
      if (scan !== this.newest) return;
      await this.draw(scan);
      this.look(this.looked);
    };
    this.last = this.last.then(draw, draw);
    return this.last;
  }

  /** Show where the model looks in the scan; null: it reads scans as wholes. */
  look(view: FieldOfView | null): void {
    this.looked = view;
    this.niivue.outline(view, this.scan?.shape ?? []);
  }

  /** Where the slices cross is where the model is to look. */
  private pointAt(): void {
    const places = this.places();
    if (this.looked && places.some((place, axis) => place !== this.looked!.centre[axis])) this.point(places);
  }

  /** One finger on slices scrolls the page, as anywhere else on it; NiiVue would take it. In 3D it turns the volume. */
  private leaveSwipesToThePage(stages: HTMLElement): void {
    let isForNiivue = false; // for the whole of a gesture, so that it sees the end of what it saw begin
    const listen = (event: TouchEvent) => {
      isForNiivue ||= this.view === "3D" || event.touches.length > 1;
      if (!isForNiivue) event.stopPropagation();
      if (!event.touches.length) isForNiivue = false;
    };
    for (const kind of ["touchstart", "touchmove", "touchend", "touchcancel"] as const) {
      stages.addEventListener(kind, listen, { capture: true, passive: true });
    }
  }

  /** The middle of each axis, through the first of the scan's windows. */
  private async draw(scan: Scan): Promise<void> {
    await this.ready;
    this.scan = scan;
    this.niivue.outline(null, []);
    this.place.hidden = false;
    const isVolume = !isColour(scan) && scan.shape.length === 3;
    for (const volume of [...this.niivue.volumes]) this.niivue.removeVolume(volume);
    this.niivue.setSliceType(SLICE_TYPE.AXIAL); // every step below draws, and one slice takes the least time
    await this.niivue.setVolumeRenderIllumination(isVolume && isMask(scan) ? 0.6 : 0); // later, it would load all anew
    const windows = presets(scan);
    await this.niivue.loadFromArrayBuffer(asNifti(scan, isColour(scan), windows[0]!), "scan.nii");
    this.niivue.setInterpolation(Math.min(...scan.shape.slice(0, isVolume ? 3 : 2)) < SMOOTH_FROM);
    this.niivue.setIsOrientationTextVisible(scan.oriented);
    this.niivue.setPan2Dxyzmm([0, 0, 0, 1]);
    this.niivue.setRenderAzimuthElevation(AZIMUTH, ELEVATION);
    this.controls.replaceChildren(...(isVolume ? this.volumeControls(scan) : this.imageControls()), this.windowControls(scan, windows));
    this.niivue.opts.crosshairWidth = isVolume ? CROSSHAIR : 0;
    const isSmall = product(scan.shape) <= BESIDE_SLICES;
    this.niivue.opts.multiplanarShowRender = isSmall ? SHOW_RENDER.ALWAYS : SHOW_RENDER.NEVER;
    if (isVolume) this.goTo(scan.shape.map((length) => Math.floor(length / 2)));
    this.setView(isVolume ? "All views" : "Axial");
  }

  private volumeControls(scan: Scan): HTMLElement[] {
    const views = element("fieldset", { class: "views" }, element("legend", {}, "View"));
    for (const view of Object.keys(VIEWS) as View[]) {
      const radio = element("input", { type: "radio", name: "view", value: view, checked: view === "All views" });
      radio.addEventListener("change", () => this.setView(view));
      views.append(element("label", {}, radio, element("span", {}, view)));
    }
    const fields = PLANES.map((plane, axis) => {
      const length = scan.shape[axis]!;
      return slider(`${plane} slice`, 1, length, 1, Math.floor(length / 2) + 1, () => this.goTo(this.places()));
    });
    this.sliders = fields.map(({ input }) => input);
    return [views, element("div", { class: "fields" }, ...fields.map(({ field }) => field))];
  }

  private imageControls(): HTMLElement[] {
    this.sliders = [];
    const zoom = slider("Zoom", 1, MAGNIFIED, 0.25, 1, (value) => {
      const [x, y, z] = this.niivue.scene.pan2Dxyzmm;
      this.niivue.setPan2Dxyzmm(value === 1 ? [0, 0, 0, 1] : [x!, y!, z!, value]);
    });
    const note = element("p", { class: "small" }, "Move a magnified picture by dragging it with the right mouse button.");
    return [element("div", { class: "fields" }, zoom.field), note];
  }

  private windowControls(scan: Scan, windows: readonly Window[]): HTMLElement {
    const fixed = isMask(scan) || isColour(scan);
    const choice = element("select", { disabled: fixed }, ...windows.map(({ name }) => element("option", {}, name)));
    const low = Math.min(...windows.map(({ level, width }) => level - width / 2));
    const high = Math.max(...windows.map(({ level, width }) => level + width / 2));
    const step = high - low > 50 ? 1 : Math.max((high - low) / 200, 1e-6);
    const first = windows[0]!;
    const apply = () => this.setWindow({ name: "", level: level.input.valueAsNumber, width: width.input.valueAsNumber });
    const level = slider("Window level", low, high, step, first.level, apply, fixed);
    const width = slider("Window width", step, Math.max(...windows.map((w) => w.width), step), step, first.width, apply, fixed);
    choice.addEventListener("change", () => {
      const chosen = windows[choice.selectedIndex]!;
      level.set(chosen.level);
      width.set(chosen.width);
      this.setWindow(chosen);
    });
    return element("div", { class: "fields" }, element("label", { class: "field" }, "Window", choice), level.field, width.field);
  }

  private setView(view: View): void {
    this.view = view;
    this.niivue.setSliceType(VIEWS[view]);
    this.niivue.resizeListener();
    this.describe();
  }

  private setWindow({ level, width }: Window): void {
    const volume = this.niivue.volumes[0];
    if (!volume) return;
    volume.cal_min = level - width / 2;
    volume.cal_max = level + width / 2;
    this.niivue.updateGLVolume();
  }

  /** The slices at which the sliders stand, from 0. */
  private places(): number[] {
    return this.sliders.map((input) => input.valueAsNumber - 1);
  }

  /** NiiVue counts from the patient's left, from behind and from below; shares of the whole, not voxels. */
  private goTo([slice, row, column]: readonly number[]): void {
    const [slices, rows, columns] = this.scan!.shape;
    const { crosshairPos } = this.niivue.scene;
    crosshairPos[0] = 1 - (column! + 0.5) / columns!;
    crosshairPos[1] = 1 - (row! + 0.5) / rows!;
    crosshairPos[2] = (slice! + 0.5) / slices!;
    this.niivue.drawScene();
    this.describe();
  }

  /** Move the sliders to where the mouse has gone. */
  private follow(): void {
    if (!this.scan || !this.sliders.length) return;
    const [x, y, z] = this.niivue.scene.crosshairPos;
    const shares = [z!, 1 - y!, 1 - x!];
    this.sliders.forEach((input, axis) => {
      const length = this.scan!.shape[axis]!;
      input.valueAsNumber = Math.min(length, Math.max(1, Math.floor(shares[axis]! * length) + 1));
      input.dispatchEvent(new Event("moved"));
    });
    this.describe();
  }

  private describe(): void {
    if (!this.scan) return;
    const at = this.sliders.map((input, axis) => `${PLANES[axis]} slice ${input.value} of ${this.scan!.shape[axis]}`);
    const words = this.view === "3D" ? "The volume in 3D; drag to turn it" : at.length ? at.join(", ") : "The image";
    this.canvas.setAttribute("aria-label", words);
  }
}

interface Slider {
  readonly field: HTMLElement;
  readonly input: HTMLInputElement;
  readonly set: (value: number) => void;
}

/** A range with its name and its number, for mouse, finger and arrow keys. */
function slider(
  name: string,
  low: number,
  high: number,
  step: number,
  value: number,
  moved: (value: number) => void,
  disabled = false,
): Slider {
  const input = element("input", { type: "range", min: low, max: Math.max(high, low + step), step, value, disabled: disabled || high <= low });
  const number = element("span", { class: "number", "aria-hidden": "true" }); // the range itself tells its value
  const tell = () => (number.textContent = String(Number(input.valueAsNumber.toPrecision(6))));
  input.addEventListener("input", () => {
    tell();
    moved(input.valueAsNumber);
  });
  input.addEventListener("moved", tell);
  tell();
  const set = (to: number) => {
    input.valueAsNumber = to;
    tell();
  };
  return { field: element("label", { class: "field" }, element("span", {}, name, number), input), input, set };
}
