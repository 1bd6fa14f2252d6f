// What the source tells in Perform's cookie for the destination to keep: how much was moved and how long it took, and the
// definition when it is another one than what runs. It is never a reason to fail: the guest has been handed over.

import { type Cookie, readCookie } from "../../drivers/libvirt/cookie/cookie.js";
import { cookieFeatures } from "../../drivers/libvirt/cookie/sections.js";
import { writeCookie } from "../../drivers/libvirt/cookie/write.js";
import { messageOf } from "../../protocol/effect-result.js";
import { checkEmulator } from "../domains/emulators.js";
import type { ManagedDomain } from "../domains/managed-domain.js";
import type { Host } from "../host.js";
import type { Outgoing } from "./outgoing.js";
import { renamed, type StepRequest } from "./request.js";

/** In the cookie for the hosts' clocks alone. */
const ofClocks: readonly string[] = ["started", "stopped", "sent", "delta"];

export function performCookie(
  { config: { hostname, hostUuid } }: Host,
  { domain: { name, uuid, xml }, identity: { migrationId }, followed }: Outgoing,
  { definition }: ManagedDomain,
  { flags, parameters }: Pick<StepRequest, "flags" | "parameters">,
): Uint8Array {
  const whole = Object.entries(followed.figures()).map(([key, value]) => [key, Math.round(value)] as const);
  const statistics = Object.fromEntries(whole.filter(([key]) => !key.startsWith("data_")));
  // libvirt's client gives Perform the XML that Begin has answered, also when nobody has asked for another.
  const asked = parameters.persistentXml !== undefined || (parameters.xml ?? xml) !== xml;
  const persistent =
    flags.has("PERSIST_DEST") && !asked && definition?.xml !== xml ? definition?.xml : undefined;
  return writeCookie({
    name,
    uuid,
    hostname,
    hostUuid,
    features: [],
    statistics,
    persistent,
    switchover: { version: 1, migration: migrationId, backings: [] },
  });
}

/** `words.cookie` is Finish's. */
export async function applyPerformCookie(
  { domains, jobs, config, warn }: Host,
  entry: ManagedDomain,
  { flags, parameters, cookie }: StepRequest,
  nameAtSource: string,
): Promise<void> {
  try {
    const { hostUuid } = config;
    const expected = { name: nameAtSource, uuid: entry.uuid, hostUuid, reads: cookieFeatures };
    const { statistics = {}, persistent } = readCookie(cookie, expected)?.cookie ?? {};
    jobs.keep(entry, { how: "completed", operation: "migration in", figures: figuresIn(statistics) });
    if (persistent === undefined || parameters.persistentXml !== undefined || !flags.has("PERSIST_DEST"))
      return;
    const domain = renamed(domains, persistent, entry.name);
    if (domain.uuid !== entry.uuid) throw new Error(`the definition in the cookie is of ${domain.uuid}`);
    checkEmulator(config, domain);
    await domains.define(domain);
  } catch (error) {
    warn(`what the source has told of ${entry.name} cannot be kept: ${messageOf(error)}`);
  }
}

function figuresIn(statistics: NonNullable<Cookie["statistics"]>): Record<string, number> {
  const told = Object.entries(statistics).filter(([key]) => !ofClocks.includes(key));
  const data = told.flatMap(([key, value]) => {
    const of = /^memory_(total|processed|remaining)$/.exec(key)?.[1];
    return of === undefined ? [] : [[`data_${of}`, value] as const];
  });
  return Object.fromEntries([...told, ...data]);
}
