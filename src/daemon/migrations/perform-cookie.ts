// Perform's cookie, from the source to the destination: the migration's statistics, and the persistent definition when it
// differs from the running one. An error in it never fails the migration, because the guest has been handed over.

import { type Cookie, readCookie } from "../../drivers/libvirt/cookie/cookie.js";
import { cookieFeatures } from "../../drivers/libvirt/cookie/sections.js";
import { writeCookie } from "../../drivers/libvirt/cookie/write.js";
import { messageOf } from "../../protocol/effect-result.js";
import { checkEmulator } from "../domains/emulators.js";
import type { ManagedDomain } from "../domains/managed-domain.js";
import type { Host } from "../host.js";
import type { Outgoing } from "./outgoing.js";
import { renamed, type StepRequest } from "./request.js";

/** Statistics that serve only to compare the hosts' clocks. */
const ofClocks: readonly string[] = ["started", "stopped", "sent", "delta"];

export function performCookie(
  { config: { hostname, hostUuid } }: Host,
  { domain: { name, uuid, xml }, identity: { migrationId }, followed }: Outgoing,
  { definition }: ManagedDomain,
  { flags, parameters }: Pick<StepRequest, "flags" | "parameters">,
): Uint8Array {
  const whole = Object.entries(followed.figures()).map(([key, value]) => [key, Math.round(value)] as const);
  const statistics = Object.fromEntries(whole.filter(([key]) => !key.startsWith("data_")));
  // libvirt's client passes the XML of Begin's reply to Perform even if the user gave no XML.
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

/** Stores what Perform's cookie carried; `cookie` is the one that Finish receives. */
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
    if (domain.uuid !== entry.uuid)
      throw new Error(`the definition in the cookie has another uuid, ${domain.uuid}`);
    checkEmulator(config, domain);
    await domains.define(domain);
  } catch (error) {
    warn(`the source's statistics and definition of ${entry.name} cannot be stored: ${messageOf(error)}`);
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
