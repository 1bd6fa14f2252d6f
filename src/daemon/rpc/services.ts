// Handles libvirt's procedures for the connection, domains and events.

import { cpus, totalmem } from "node:os";
import { domainStates, features } from "../../drivers/libvirt/rpc/constants.js";
import type { Domain as WireDomain } from "../../drivers/libvirt/rpc/libvirt-types.js";
import type { remote } from "../../drivers/libvirt/rpc/procedures.js";
import { type Handlers, type Service, serveRemote } from "../../drivers/libvirt/rpc/service.js";
import { isActive, type ManagedDomain, quarantineOf } from "../domains/managed-domain.js";
import type { Host } from "../host.js";
import type { Migrations } from "../migrations/registry.js";
import { capabilities } from "./capabilities.js";
import { libvirtError } from "./errors.js";
import { EventClients } from "./events.js";
import { allOf, checkFlags } from "./flags.js";
import { isListed, listFlags } from "./listing.js";
import { migrateHandlers } from "./migration.js";
import { powerHandlers } from "./power.js";
import { statsHandlers } from "./stats.js";
import { ownService } from "./switchover-program.js";
import { toWireDomain } from "./wire-domain.js";

/** In libvirt's encoding: major × 1 000 000 + minor × 1 000 + release. */
const libvirtVersion = 9_000_000n;
const supported: ReadonlySet<number> = new Set([
  features.migrationP2p,
  features.migrationV2,
  features.migrationV3,
  features.migrateChangeProtection,
  features.typedParamString,
  features.xmlMigratable,
  features.migrationOffline,
  features.migrationParams,
  features.remoteEventCallback,
  features.remoteCloseCallback,
]);

const defineFlags = { validate: 1 };
const createFlags = { paused: 1, validate: 16 };
const destroyFlags = { graceful: 1 };
/** Domains here never have any of these, so the flags are accepted and have no effect. */
const undefineFlags = { managedSave: 1, snapshots: 2, nvram: 4, keepNvram: 8, checkpoints: 16 };
const messageFlags = { deprecation: 1, tainting: 2 };
const xmlFlags = { secure: 1, inactive: 2, updateCpu: 4, migratable: 8 };

export function services(host: Host, migrations: Migrations): readonly Service[] {
  const { domains } = host;
  const of = ({ uuid }: WireDomain) => domains.byUuid(uuid);
  const started = async (entry: ManagedDomain, paused: boolean) => {
    if (entry.definition === null) throw libvirtError("OPERATION_INVALID", "domain is already running");
    return domains.start(entry.definition, { paused });
  };
  const events = new EventClients(host);

  const handlers: Handlers<typeof remote.procedures> = {
    connectOpen: ({ name, flags }, client) => {
      if (name !== null && !/^qemu:\/\/\/(system|session)$/.test(name))
        throw libvirtError("NO_CONNECT", `no connection driver available for ${name}`);
      if ((flags & 1) !== 0) client.readOnly = true;
    },
    connectClose: () => {},
    connectGetType: () => ({ type: "QEMU" }),
    connectGetVersion: async () => {
      const [major = 0, minor = 0, micro = 0] = (await domains.factsOf("qemu-system-x86_64")).version
        .split(".")
        .map(Number);
      return { hvVer: BigInt(major * 1_000_000 + minor * 1_000 + micro) };
    },
    connectGetLibVersion: () => ({ libVer: libvirtVersion }),
    connectGetHostname: () => ({ hostname: host.config.hostname }),
    connectGetUri: () => ({ uri: "qemu:///system" }),
    connectGetCapabilities: () => ({ capabilities: capabilities(host) }),
    nodeGetInfo: () => ({
      model: "x86_64",
      memory: BigInt(Math.floor(totalmem() / 1024)),
      cpus: cpus().length,
      mhz: cpus()[0]?.speed ?? 0,
      nodes: 1,
      sockets: 1,
      cores: cpus().length,
      threads: 1,
    }),
    connectSupportsFeature: ({ feature }) => ({ supported: supported.has(feature) ? 1 : 0 }),
    connectRegisterCloseCallback: () => {},
    connectUnregisterCloseCallback: () => {},
    connectListAllDomains: ({ flags }) => {
      checkFlags(flags, allOf(listFlags));
      const found = domains.all.filter((domain) => isListed(domain, flags)).map(toWireDomain);
      return { domains: found, ret: found.length };
    },
    connectDomainEventRegisterAny: ({ eventID }, client) => events.registerOld(client, eventID),
    connectDomainEventDeregisterAny: ({ eventID }, client) => events.deregisterOld(client, eventID),
    connectDomainEventCallbackRegisterAny: ({ eventID, dom }, client) => ({
      callbackID: events.register(client, eventID, dom?.uuid ?? null),
    }),
    connectDomainEventCallbackDeregisterAny: ({ callbackID }, client) =>
      events.deregister(client, callbackID),

    domainLookupById: ({ id }) => ({ dom: toWireDomain(domains.byId(id)) }),
    domainLookupByName: ({ name }) => ({ dom: toWireDomain(domains.byName(name)) }),
    domainLookupByUuid: ({ uuid }) => ({ dom: toWireDomain(domains.byUuid(uuid)) }),
    domainDefineXml: async ({ xml }) => {
      return { dom: toWireDomain(await domains.define(domains.parse(xml))) };
    },
    domainDefineXmlFlags: async ({ xml, flags }) => {
      checkFlags(flags, allOf(defineFlags));
      const domain = domains.parse(xml);
      if ((flags & defineFlags.validate) !== 0) await domains.build(domain);
      return { dom: toWireDomain(await domains.define(domain)) };
    },
    domainCreate: async ({ dom }) => {
      await started(of(dom), false);
    },
    domainCreateWithFlags: async ({ dom, flags }) => {
      checkFlags(flags, allOf(createFlags));
      return { dom: toWireDomain(await started(of(dom), (flags & createFlags.paused) !== 0)) };
    },
    domainCreateXml: async ({ xmlDesc, flags }) => {
      checkFlags(flags, allOf(createFlags));
      const paused = (flags & createFlags.paused) !== 0;
      return { dom: toWireDomain(await domains.start(domains.parse(xmlDesc), { paused })) };
    },
    domainDestroy: async ({ dom }) => {
      await domains.destroy(of(dom));
    },
    domainDestroyFlags: async ({ dom, flags }) => {
      checkFlags(flags, allOf(destroyFlags));
      await domains.destroy(of(dom));
    },
    domainUndefine: async ({ dom }) => {
      await domains.undefineRequested(of(dom));
    },
    domainUndefineFlags: async ({ dom, flags }) => {
      checkFlags(flags, allOf(undefineFlags));
      await domains.undefineRequested(of(dom));
    },
    domainSuspend: async ({ dom }) => {
      await domains.suspend(of(dom));
    },
    domainResume: async ({ dom }) => {
      await domains.resume(of(dom));
    },
    domainGetXmlDesc: ({ dom, flags }, client) => {
      checkFlags(flags, allOf(xmlFlags));
      // As in libvirt: these forms are for clients that may start the guest elsewhere.
      if (client.readOnly && (flags & (xmlFlags.secure | xmlFlags.migratable)) !== 0)
        throw libvirtError(
          "OPERATION_DENIED",
          "read only access prevents domainGetXmlDesc with secure or migratable",
        );
      const { live, arriving, definition } = of(dom);
      const here = live ?? arriving;
      if (here === null || (flags & xmlFlags.inactive) !== 0)
        return { xml: (definition ?? here?.domain)?.xml ?? "" };
      return { xml: withId(here.domain.xml, here.id) };
    },
    domainGetOsType: ({ dom }) => {
      const { live, definition } = of(dom);
      return { type: (live?.domain ?? definition)?.model?.os.type.text ?? "hvm" };
    },
    domainIsActive: ({ dom }) => ({ active: isActive(of(dom)) ? 1 : 0 }),
    domainIsPersistent: ({ dom }) => ({ persistent: of(dom).definition === null ? 0 : 1 }),
    domainHasManagedSaveImage: ({ dom, flags }) => {
      checkFlags(flags, 0);
      of(dom);
      return { result: 0 };
    },
    /** libvirt's two message types are about deprecated or tainted domains, which do not exist here. */
    domainGetMessages: ({ dom, flags }) => {
      checkFlags(flags, allOf(messageFlags));
      const entry = of(dom);
      const why = quarantineOf(entry);
      const stopped = entry.live === null ? entry.whyStopped : null;
      const msgs = [why && `quarantined: ${why}`, stopped].filter((message) => message !== null);
      return { msgs: flags === 0 ? msgs : [] };
    },
    domainGetState: ({ dom, flags }) => {
      checkFlags(flags, 0);
      const { state } = of(dom);
      return { state: domainStates[state.name], reason: state.reason };
    },
  };

  return [
    serveRemote({
      ...handlers,
      ...powerHandlers(host),
      ...statsHandlers(host),
      ...migrateHandlers(host, migrations),
    }),
    ownService(host, migrations),
  ];
}

/** Adds the id to the root element, as libvirt does for a running domain. */
const withId = (xml: string, id: number): string =>
  xml.replace(/<domain(?=[\s>])(?:\s+id=(?:"[^"]*"|'[^']*'))?/, `<domain id="${id}"`);
