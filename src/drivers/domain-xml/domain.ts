// A domain as it is defined: its text, in which everything survives that was given, and the model of what is supported
// of it. What is not supported does not stop a domain from being kept, only from being started.

import type { Element } from "@xmldom/xmldom";
import type { Ids } from "../../effects/ports.js";
import { systemIds } from "../platform/clock.js";
import { completeAddresses, completeDevices, completeUuid } from "./schema/defaults.js";
import { type DomainModel, domain, identity } from "./schema/domain.js";
import { allOf, DomainXmlError, type Refusal } from "./xml/errors.js";
import { parseXml, placeOf, printXml } from "./xml/parse.js";
import { readElement } from "./xml/read.js";

export interface Domain {
  readonly name: string;
  readonly uuid: string;
  /** Without refusals complete: with the uuid, devices and addresses that were not given. Nothing else is changed. */
  readonly xml: string;
  /** What is supported of it, complete; undefined when something is missing without which there is no guest. */
  readonly model: DomainModel | undefined;
  /** Everything in it that is not supported. */
  readonly refusals: readonly Refusal[];
}

/**
 * Reads libvirt's domain XML. One without refusals is completed as libvirt would.
 * @throws DomainXmlError when it is no XML, no domain, or has no name and uuid that can be used.
 */
export function parseDomain(text: string, { ids = systemIds }: { ids?: Ids } = {}): Domain {
  const root = parseXml(text);
  if (root.localName !== "domain" || root.namespaceURI !== null) {
    const what = `the root element is <${root.tagName}>, not <domain>`;
    const next = "give libvirt's domain XML";
    throw new DomainXmlError([{ code: "malformed", path: "", ...placeOf(root), what, next }]);
  }
  const given = readDomain(root);
  const nameless = given.refusals.some(({ path }) => path === "domain/name" || path === "domain/uuid");
  const known = nameless ? undefined : readElement(identity, root, "domain", () => {});
  if (known === undefined) throw allOf(given.refusals);
  const name = known.name.text;
  const uuid = known.uuid?.text ?? ids.next();
  if (known.uuid === undefined) completeUuid(known.name, uuid);
  const xml = printXml(root);
  if (given.model === undefined) return { name, uuid, xml, ...given };

  completeDevices(given.model, uuid);
  const { model } = readDomain(root);
  if (model !== undefined) completeAddresses(model);
  const { refusals } = given;
  return {
    name,
    uuid,
    refusals,
    model: readDomain(root).model,
    xml: refusals.length > 0 ? xml : printXml(root),
  };
}

function readDomain(root: Element): Pick<Domain, "model" | "refusals"> {
  const refusals: Refusal[] = [];
  const model = readElement(domain, root, "domain", (refusal) => refusals.push(refusal));
  return { model, refusals };
}
