/** Elements, built without markup: nothing that a file says can become part of the page's code. */
type Child = Node | string | number | null | undefined;
type Attributes = Readonly<Record<string, string | number | boolean | null | undefined>>;

export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  return filled(document.createElement(tag), attributes, children);
}

export function svg<Tag extends keyof SVGElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: Child[]
): SVGElementTagNameMap[Tag] {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled<Built extends Element>(built: Built, attributes: Attributes, children: readonly Child[]): Built {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) built.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) built.setAttribute(name, String(value));
  }
  for (const child of children) {
    if (child !== null && child !== undefined) built.append(child instanceof Node ? child : String(child));
  }
  return built;
}

/** The element of the page with this id. */
export function byId<Kind extends HTMLElement>(id: string, kind: new () => Kind): Kind {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${id}`);
  return found;
}

/** Names and values. */
export function table(rows: readonly (readonly [string, string | Node])[]): HTMLTableElement {
  const cells = rows.map(([name, value]) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value)),
  );
  return element("table", { class: "facts" }, element("tbody", {}, ...cells));
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(1)}%`;
}

export function figure(value: number, digits: number): string {
  return String(Number(value.toPrecision(digits)));
}
