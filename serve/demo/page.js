// A magnified picture keeps its place when it is drawn again, and can be dragged.  Gradio replaces the whole figure, so
// the place is remembered as the share of the way scrolled.  A click on a slice tells where a model is to look.
(() => {
  const places = new Map();
  const stage = (target) => target instanceof Element && target.closest(".stage[tabindex]");
  const share = (at, whole, shown) => (whole > shown ? at / (whole - shown) : 0.5);

  document.addEventListener("scroll", ({ target }) => {
    const box = stage(target);
    if (box && box === target) {
      places.set(box.dataset.stage, [
        share(box.scrollLeft, box.scrollWidth, box.clientWidth),
        share(box.scrollTop, box.scrollHeight, box.clientHeight),
      ]);
    }
  }, true);

  new MutationObserver((changes) => {
    for (const { addedNodes } of changes) {
      for (const node of addedNodes) {
        if (!(node instanceof Element)) continue;
        const box = node.matches(".stage[tabindex]") ? node : node.querySelector(".stage[tabindex]");
        if (!box) continue;
        const [x, y] = places.get(box.dataset.stage) ?? [0.5, 0.5];
        box.scrollLeft = x * (box.scrollWidth - box.clientWidth);
        box.scrollTop = y * (box.scrollHeight - box.clientHeight);
      }
    }
  }).observe(document.documentElement, { childList: true, subtree: true });

  document.addEventListener("pointerdown", (event) => {
    const box = stage(event.target);
    if (!box || event.pointerType !== "mouse") return;
    event.preventDefault();
    box.focus({ preventScroll: true });
    box.setPointerCapture(event.pointerId);
    const drag = ({ movementX, movementY }) => box.scrollBy(-movementX, -movementY);
    box.addEventListener("pointermove", drag);
    box.addEventListener("pointerup", () => box.removeEventListener("pointermove", drag), { once: true });
  });

  // A click on a slice is a place to look at: which plane, and shares of the picture's width and height.
  document.addEventListener("click", ({ target, clientX, clientY }) => {
    const stage = target instanceof Element && target.closest(".stage.pointed");
    const picture = stage && stage.querySelector("img").getBoundingClientRect();
    const field = stage && stage.closest(".viewer").querySelector(".click :is(textarea, input)");
    if (!field) return;
    const shares = [(clientX - picture.left) / picture.width, (clientY - picture.top) / picture.height];
    if (shares.some((share) => share < 0 || share >= 1)) return;
    field.value = `${stage.dataset.stage} ${shares.map((share) => share.toFixed(4)).join(" ")}`;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.dispatchEvent(new KeyboardEvent("keypress", { key: "Enter", bubbles: true })); // Gradio tells its server then
  });
})();
