// Reads libvirt's migration cookie, in which the sides exchange data from step to step. The head is checked as in libvirt;
// an unreadable optional section is ignored, since a migration must not fail because of a statistic.

import type { Element } from "@xmldom/xmldom";
import { DomainXmlError, describeRefusal, type Refusal } from "../../domain-xml/xml/errors.js";
import { parseXml, printXml } from "../../domain-xml/xml/parse.js";
import { childrenOf, readElement } from "../../domain-xml/xml/read.js";
import type { ElementType } from "../../domain-xml/xml/table.js";
import { CookieError } from "./errors.js";
import type { CookieFeature } from "./sections.js";
import * as sections from "./sections.js";

export interface Cookie {
  /** The sender's name of the guest: the name before the migration. */
  readonly name: string;
  readonly uuid: string;
  /** Hostname of the sender. */
  readonly hostname: string;
  readonly hostUuid: string;
  /** Features that the receiver must understand. */
  readonly features: readonly CookieFeature[];
  readonly graphics?: sections.CookieGraphics | undefined;
  readonly lockstate?: sections.CookieLockstate | undefined;
  /** The persistent definition for the destination, as `<domain>` XML. */
  readonly persistent?: string | undefined;
  readonly network?: sections.CookieNetwork | undefined;
  readonly nbd?: sections.CookieNbd | undefined;
  /** Statistics by libvirt's names, and `started`, `stopped`, `sent` (ms since 1970), `delta` (ms). */
  readonly statistics?: Readonly<Record<string, number>> | undefined;
  /** The CPU as `<cpu>` XML. */
  readonly cpu?: string | undefined;
  readonly capabilities?: sections.CookieCapabilities | undefined;
  readonly blockDirtyBitmaps?: sections.CookieBitmaps | undefined;
  readonly switchover?: sections.CookieSwitchover | undefined;
  /** Unknown sections, as XML. */
  readonly others?: readonly string[] | undefined;
}

/** Values that the receiver of a cookie expects. */
export interface Expected {
  readonly name: string;
  readonly uuid: string;
  /** Uuid of the receiver's host: a cookie from the same host is refused. */
  readonly hostUuid: string;
  /** The features that this step understands. */
  readonly reads: readonly CookieFeature[];
}

export interface ReadCookie {
  readonly cookie: Cookie;
  /** Sections that could not be read or are unknown, one sentence each. */
  readonly ignored: readonly string[];
}

const rootName = "qemu-migration";
/** The feature of a section whose name differs from the feature's. */
const featureOf: Readonly<Record<string, CookieFeature>> = {
  domain: "persistent",
  blockDirtyBitmaps: "block-dirty-bitmaps",
};

/** Returns null for an empty cookie, which every step accepts. @throws CookieError */
export function readCookie(bytes: Uint8Array, expected: Expected): ReadCookie | null {
  if (bytes.length === 0) return null;
  const root = parse(bytes);
  const children = childrenOf(root);
  const head = readHead(root, expected);
  const ignored: string[] = [];
  const first = (name: string) =>
    children.find((child) => child.localName === name && child.namespaceURI === null);
  const isOfThisVersion = first("switchover")?.getAttribute("version") === "1";
  const ignore = (name: string, refusal: Refusal) => {
    const feature = featureOf[name] ?? name;
    // The switchover section is evidence and must be readable. A section of a later version is ignored.
    const isNeeded =
      name === "switchover" ? isOfThisVersion : head.features.some((known) => known === feature);
    const fatal = refusal.code !== "unsupported" && isNeeded;
    if (fatal)
      throw new CookieError("malformed", `the required section ${feature} cannot be read: ${refusal.what}`);
    ignored.push(describeRefusal(refusal));
  };
  const read = <T>(name: string, type: ElementType<T>): T | undefined => {
    const element = first(name);
    return element && readElement(type, element, `${rootName}/${name}`, (refusal) => ignore(name, refusal));
  };
  const raw = (name: string) => {
    const element = first(name);
    return element && printXml(element);
  };
  const cookie: Cookie = {
    ...head,
    graphics: read("graphics", sections.graphics),
    lockstate: read("lockstate", sections.lockstate),
    persistent: raw("domain"),
    network: read("network", sections.network),
    nbd: read("nbd", sections.nbd),
    statistics: statisticsOf(first("statistics")),
    cpu: raw("cpu"),
    capabilities: read("capabilities", sections.capabilities),
    blockDirtyBitmaps: read("blockDirtyBitmaps", sections.blockDirtyBitmaps),
    switchover: read("switchover", sections.switchover),
  };
  const others = children.filter(
    (child) => child.namespaceURI !== null || !sections.sectionNames.includes(child.localName ?? ""),
  );
  ignored.push(...others.map((section) => `the section <${section.tagName}> is unknown`));
  return { cookie: { ...cookie, others: others.map(printXml) }, ignored };
}

function parse(bytes: Uint8Array): Element {
  if (bytes.at(-1) !== 0) throw new CookieError("not-terminated", "it does not end with a NUL");
  try {
    const root = parseXml(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, -1)));
    if (root.tagName === rootName) return root;
    throw new CookieError("malformed", `its root is <${root.tagName}>, not <${rootName}>`);
  } catch (error) {
    if (error instanceof CookieError) throw error;
    const why = error instanceof DomainXmlError ? error.message : "it is not valid UTF-8";
    throw new CookieError("malformed", why, { cause: error });
  }
}

type Head = Pick<Cookie, "name" | "uuid" | "hostname" | "hostUuid" | "features">;

function readHead(root: Element, { name, uuid, hostUuid, reads }: Expected): Head {
  // Only errors in the head matter here; the other sections are read later.
  const head = readElement(sections.header, root, rootName, () => {});
  const missing = (["name", "uuid", "hostname", "hostuuid"] as const).find(
    (key) => head?.[key] === undefined,
  );
  if (
    head?.name === undefined ||
    head.uuid === undefined ||
    head.hostname === undefined ||
    head.hostuuid === undefined
  ) {
    throw new CookieError("malformed", `its <${missing}> is missing or cannot be read`);
  }
  if (head.name.text !== name) {
    throw new CookieError("wrong-name", `it names the guest "${head.name.text}" instead of "${name}"`);
  }
  if (head.uuid.text !== uuid)
    throw new CookieError("wrong-uuid", `it names the guest's uuid ${head.uuid.text} instead of ${uuid}`);
  if (head.hostuuid.text === hostUuid) {
    throw new CookieError("same-host", `it was sent by this host itself (${hostUuid})`);
  }
  const features = head.features.map((required) => {
    const feature = reads.find((known) => known === required.name);
    if (feature === undefined)
      throw new CookieError(
        "feature",
        `it requires the feature "${required.name}", which this step does not support`,
      );
    return feature;
  });
  return { name, uuid, hostname: head.hostname.text, hostUuid: head.hostuuid.text, features };
}

/** Omits numbers that cannot be read: a newer libvirt may write other statistics. */
function statisticsOf(element: Element | undefined): Record<string, number> | undefined {
  if (element === undefined) return undefined;
  const counted = childrenOf(element).flatMap((child) => {
    const text = child.textContent?.trim() ?? "";
    const value = /^-?\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
    return Number.isSafeInteger(value) ? [[child.localName ?? "", value] as const] : [];
  });
  return Object.fromEntries(counted);
}
