// Reads an element by its type. A part that the type does not have is refused, with its place, and omitted from the model;
// reading continues, so that all faults are reported at once. The origin of each part of a model is recorded.

import type { Attr, Element } from "@xmldom/xmldom";
import type { Place, Refusal } from "./errors.js";
import { placeOf } from "./parse.js";
import type { ElementType, Field, Fields } from "./table.js";

interface Origin {
  readonly element: Element;
  readonly path: string;
  readonly fields: Fields;
}
const origins = new WeakMap<object, Origin>();

export type Refuse = (refusal: Refusal) => void;

/** A refusal without its place. */
export type Why = Pick<Refusal, "code" | "what" | "next">;

export const elementOf = (model: object): Element | undefined => origins.get(model)?.element;

/** Returns the place of a part of a model: the element, or its attribute or child of that name. */
export function placeIn(model: object, key?: string): Place & { path: string } {
  const origin = origins.get(model);
  if (origin === undefined) return { path: "", line: 1, column: 1 };
  const { element, path, fields } = origin;
  if (key === undefined || fields[key]?.is.kind === "text") return { path, ...standingOf(element) };
  const name = fields[key]?.name ?? key;
  const attribute = element.getAttributeNode(name);
  if (attribute !== null || fields[key]?.is.kind === "attribute") {
    return { path: `${path}/@${name}`, ...(attribute === null ? standingOf(element) : placeOf(attribute)) };
  }
  const child = childrenOf(element).find((candidate) => candidate.localName === name);
  return { path: `${path}/${name}`, ...standingOf(child ?? element) };
}

/** An element that was added after parsing gets the position of its parent. */
function standingOf(element: Element): Place {
  let ancestor: Element | null = element;
  while (ancestor !== null && ancestor.lineNumber === undefined) ancestor = ancestor.parentElement;
  return placeOf(ancestor);
}

export const childrenOf = (element: Element): Element[] =>
  Array.from(element.childNodes).filter(
    (childNode): childNode is Element => childNode.nodeType === childNode.ELEMENT_NODE,
  );

const textOf = (element: Element): string =>
  Array.from(element.childNodes)
    .filter(
      (childNode) =>
        childNode.nodeType === childNode.TEXT_NODE || childNode.nodeType === childNode.CDATA_SECTION_NODE,
    )
    .map((childNode) => childNode.nodeValue ?? "")
    .join("");

const xmlnsNamespace = "http://www.w3.org/2000/xmlns/";
const remove = "remove it; docs/domain.md lists what is supported";

/** Returns undefined, after a refusal, when a required part is missing or cannot be read. */
export function readElement<T>(
  type: ElementType<T>,
  element: Element,
  path: string,
  refuse: Refuse,
): T | undefined {
  const model: Record<string, unknown> = {};
  const fields = fieldsFor(type, element, path, refuse, model);
  if (fields === undefined) return undefined;
  const reading = new Reading(element, path, refuse);
  const whole = Object.entries(fields).map(([key, field]) => reading.field(key, field, model));
  reading.refuseTheRest(type.variants?.by);
  if (whole.includes(false)) return undefined;
  origins.set(model, { element, path, fields });
  // The only cast from what was read by the table to the type that the table declares.
  return model as T;
}

/** Returns the element's fields and those of its variant; puts the variant's name into the model. */
function fieldsFor(
  { fields, variants }: ElementType<unknown>,
  element: Element,
  path: string,
  refuse: Refuse,
  model: Record<string, unknown>,
): Fields | undefined {
  if (variants === undefined) return fields;
  const { by, alternatives } = variants;
  const attribute = element.getAttributeNode(by);
  const more =
    attribute === null
      ? undefined
      : Object.entries(alternatives).find(([value]) => value === attribute.value);
  const next = `give one of ${Object.keys(alternatives).join(", ")}`;
  if (attribute === null) {
    refuse({
      code: "missing",
      path: `${path}/@${by}`,
      ...standingOf(element),
      what: "it is not given",
      next,
    });
  } else if (more === undefined) {
    const what = `"${attribute.value}" is not supported`;
    refuse({ code: "unsupported", path: `${path}/@${by}`, ...placeOf(attribute), what, next });
  } else {
    model[by] = more[0];
    return { ...fields, ...more[1] };
  }
  return undefined;
}

class Reading {
  readonly #element: Element;
  readonly #path: string;
  readonly #refuse: Refuse;
  readonly #attributes: Map<string, Attr>;
  readonly #children: Set<Element>;
  #text: string;

  constructor(element: Element, path: string, refuse: Refuse) {
    this.#element = element;
    this.#path = path;
    this.#refuse = refuse;
    this.#attributes = new Map(
      Array.from(element.attributes).map((attribute) => [attribute.name, attribute]),
    );
    this.#children = new Set(childrenOf(element));
    this.#text = textOf(element);
  }

  /** Puts the field into the model. Returns false when the field is required and could not be read. */
  field(
    key: string,
    { is, presence, name = key, namespace = "" }: Field<unknown>,
    model: Record<string, unknown>,
  ) {
    const keep = (value: unknown) => {
      if (value !== undefined) model[key] = value;
      return value !== undefined || presence !== "always";
    };
    switch (is.kind) {
      case "attribute": {
        const attribute = this.#attributes.get(name);
        this.#attributes.delete(name);
        if (attribute === undefined) return keep(is.default) || this.#missing(`/@${name}`);
        return keep(this.#value(is.value, attribute.value, `/@${name}`, placeOf(attribute)) ?? is.default);
      }
      case "text": {
        const text = this.#text;
        this.#text = "";
        if (text.trim() === "" && presence === "maybe") return true;
        return keep(this.#value(is.value, text, "", standingOf(this.#element)));
      }
      case "list": {
        const items = this.#take(name, namespace).map((element, index) =>
          readElement(is.type, element, `${this.#path}/${name}[${index + 1}]`, this.#refuse),
        );
        return keep(items.filter((item) => item !== undefined));
      }
      case "child": {
        const child = this.#takeOne(name, namespace);
        if (child === undefined) return keep(undefined) || this.#missing(`/${name}`);
        return keep(readElement(is.type, child, `${this.#path}/${name}`, this.#refuse));
      }
      case "flag": {
        const child = this.#takeOne(name, namespace);
        if (child !== undefined) readElement({ fields: {} }, child, `${this.#path}/${name}`, this.#refuse);
        return keep(child !== undefined);
      }
      case "opaque":
        this.#take(name, namespace);
        return true;
      case "refusedAttribute": {
        const attribute = this.#attributes.get(name);
        this.#attributes.delete(name);
        if (attribute !== undefined)
          this.#unsupported(`/@${name}`, attribute, `${name}="${attribute.value}"`, is.next);
        return true;
      }
      case "refusedChild":
        for (const element of this.#take(name, namespace))
          this.#unsupported(`/${name}`, element, `<${name}>`, is.next);
        return true;
    }
  }

  /** Refuses everything that no field has consumed. */
  refuseTheRest(variant: string | undefined): void {
    for (const [name, attribute] of this.#attributes) {
      if (name === variant || attribute.namespaceURI === xmlnsNamespace) continue;
      this.#unsupported(`/@${name}`, attribute, `the attribute ${name}`, remove);
    }
    for (const child of this.#children)
      this.#unsupported(`/${child.tagName}`, child, `<${child.tagName}>`, remove);
    const text = this.#text.trim();
    if (text !== "") this.#unsupported("", this.#element, `the text "${text.slice(0, 40)}"`, remove);
  }

  #take(name: string, namespace: string): Element[] {
    const taken = [...this.#children].filter(
      (child) => child.localName === name && (child.namespaceURI ?? "") === namespace,
    );
    for (const element of taken) this.#children.delete(element);
    return taken;
  }

  #takeOne(name: string, namespace: string): Element | undefined {
    const [first, second] = this.#take(name, namespace);
    if (second !== undefined) {
      const next = "keep one of them";
      this.#tell(`/${name}`, standingOf(second), { code: "repeated", what: "it occurs twice", next });
    }
    return first;
  }

  #value(value: { says: string; parse(text: string): unknown }, text: string, at: string, place: Place) {
    const parsed = value.parse(text);
    if (parsed === undefined) {
      const what = text === "" ? "it is empty" : `"${text.slice(0, 80)}" is not a valid value`;
      this.#tell(at, place, { code: "bad-value", what, next: `give ${value.says}` });
    }
    return parsed;
  }

  #missing(at: string): false {
    this.#tell(at, standingOf(this.#element), { code: "missing", what: "it is not given", next: "add it" });
    return false;
  }

  #unsupported(at: string, where: Attr | Element, name: string, next: string): void {
    this.#tell(at, placeOf(where), { code: "unsupported", what: `${name} is not supported`, next });
  }

  #tell(at: string, place: Place, why: Why): void {
    this.#refuse({ ...why, path: `${this.#path}${at}`, ...place });
  }
}
