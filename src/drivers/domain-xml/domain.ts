// A defined domain: its XML text, which keeps everything that was given, and the model of its supported parts. A domain with
// unsupported parts can be defined, but not started.

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
  /** Without refusals, the text is completed with the missing uuid, devices and addresses. Nothing else is changed. */
  readonly xml: string;
  /** The supported parts, completed; undefined when a part is missing that every guest needs. */
  readonly model: DomainModel | undefined;
  /** Every part that is not supported or not valid. */
  readonly refusals: readonly Refusal[];
}

/**
 * Reads libvirt's domain XML. A domain without refusals is completed as libvirt would complete it.
 * @throws DomainXmlError when the text is not XML, its root is not a domain, or its name or uuid cannot be used.
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
