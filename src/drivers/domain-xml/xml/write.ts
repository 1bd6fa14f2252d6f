// Writes a model as an element, by the type that also reads it, and keeps the document's indentation.

import type { Document, Element } from "@xmldom/xmldom";
import { childrenOf } from "./read.js";
import type { ElementType, Field, Fields } from "./table.js";

/** Returns an element of that type; the caller inserts it into the document. */
export function writeElement<T>(
  type: ElementType<T>,
  model: T,
  name: string,
  document: Document,
  namespace = "",
): Element {
  const element = document.createElementNS(namespace === "" ? null : namespace, name);
  const values = new Map<string, unknown>(Object.entries(model as object));
  const variant = values.get(type.variants?.by ?? "");
  if (typeof variant === "string") element.setAttribute(type.variants?.by ?? "", variant);
  const fields: Fields = { ...type.fields, ...type.variants?.alternatives[String(variant)] };
  for (const [key, field] of Object.entries(fields)) {
    const value = values.get(key);
    if (value !== undefined) writeField(element, field.name ?? key, field, value, document);
  }
  return element;
}

function writeField(
  element: Element,
  name: string,
  { is, namespace = "" }: Field<unknown>,
  value: unknown,
  document: Document,
): void {
  switch (is.kind) {
    case "attribute":
      element.setAttribute(name, is.value.print(value));
      break;
    case "text":
      element.appendChild(document.createTextNode(is.value.print(value)));
      break;
    case "child":
      element.appendChild(writeElement(is.type, value, name, document, namespace));
      break;
    case "list":
      for (const item of value as readonly unknown[])
        element.appendChild(writeElement(is.type, item, name, document, namespace));
      break;
    case "flag":
      if (value === true) element.appendChild(document.createElementNS(namespace || null, name));
  }
}

/** Appends a child; on a line of its own when the other children are on their own lines. */
export function append(parent: Element, child: Element): void {
  const { lastChild: last, ownerDocument: document } = parent;
  if (document === null) return;
  const depth = depthOf(parent);
  const blank = last !== null && last.nodeType === last.TEXT_NODE && last.nodeValue?.trim() === "";
  const onLines = childrenOf(parent).length === 0 || (blank && last.nodeValue?.includes("\n"));
  if (blank) parent.removeChild(last);
  if (onLines) parent.appendChild(document.createTextNode(lineOf(depth + 1)));
  parent.appendChild(child);
  if (onLines) parent.appendChild(document.createTextNode(lineOf(depth)));
}

/** Inserts an element after another; on a line of its own when the other one is. */
export function insertAfter(before: Element, added: Element): void {
  const { parentElement: parent, nextSibling: next, ownerDocument: document } = before;
  if (parent === null || document === null) return;
  if (before.previousSibling?.nodeValue?.includes("\n")) {
    parent.insertBefore(document.createTextNode(lineOf(depthOf(before))), next);
  }
  parent.insertBefore(added, next);
}

const lineOf = (depth: number): string => `\n${"  ".repeat(depth)}`;

function depthOf(element: Element): number {
  const { parentElement } = element;
  return parentElement === null ? 0 : depthOf(parentElement) + 1;
}
