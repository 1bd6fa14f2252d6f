// Writes a migration cookie as libvirt does: the head, the features, the sections in its order, a line feed and a NUL.

import { DOMImplementation, type Document, type Element } from "@xmldom/xmldom";
import { parseXml, printXml } from "../../domain-xml/xml/parse.js";
import { childrenOf } from "../../domain-xml/xml/read.js";
import type { ElementType } from "../../domain-xml/xml/table.js";
import { append, writeElement } from "../../domain-xml/xml/write.js";
import type { Cookie } from "./cookie.js";
import * as sections from "./sections.js";

/** @throws DomainXmlError when a section given as XML is not well-formed. */
export function writeCookie(cookie: Cookie): Uint8Array {
  const document = new DOMImplementation().createDocument(null, "qemu-migration");
  const root = document.documentElement;
  if (root === null) throw new Error("bug: a new document has no root element");
  const head = {
    name: { text: cookie.name },
    uuid: { text: cookie.uuid },
    hostname: { text: cookie.hostname },
    hostuuid: { text: cookie.hostUuid },
    features: cookie.features.map((name) => ({ name })),
  };
  for (const child of childrenOf(writeElement(sections.header, head, "head", document))) append(root, child);
  const add = <T>(name: string, type: ElementType<T>, value: T | undefined) => {
    if (value !== undefined) append(root, writeElement(type, value, name, document));
  };
  const addRaw = (xml: string | undefined) => {
    if (xml !== undefined) append(root, document.importNode(parseXml(xml), true));
  };
  add("graphics", sections.graphics, cookie.graphics);
  add("lockstate", sections.lockstate, cookie.lockstate);
  addRaw(cookie.persistent);
  add("network", sections.network, cookie.network);
  add("nbd", sections.nbd, cookie.nbd);
  if (cookie.statistics !== undefined) append(root, statistics(cookie.statistics, document));
  addRaw(cookie.cpu);
  add("capabilities", sections.capabilities, cookie.capabilities);
  add("blockDirtyBitmaps", sections.blockDirtyBitmaps, cookie.blockDirtyBitmaps);
  add("switchover", sections.switchover, cookie.switchover);
  for (const section of cookie.others ?? []) addRaw(section);
  return new TextEncoder().encode(`${printXml(root)}\n\0`);
}

function statistics(counted: Readonly<Record<string, number>>, document: Document): Element {
  const element = document.createElement("statistics");
  for (const [name, value] of Object.entries(counted)) {
    const child = document.createElement(name);
    child.appendChild(document.createTextNode(`${value}`));
    element.appendChild(child);
  }
  return element;
}
