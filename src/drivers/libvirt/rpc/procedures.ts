// Every libvirt procedure that switchover supports, in one table: number, arguments, answer (remote_protocol.x,
// qemu_protocol.x; names as there). `flags` has 32 bits in the newer forms and 64 in the older ones; `resource` is a
// bandwidth in MiB/s.

import {
  characters,
  cookie,
  domainList,
  domainStats,
  jobStats,
  memoryStats,
  migrateParams,
  nonnullDomain,
  nonnullString,
  nullableString,
  uuid,
} from "./libvirt-types.js";
import { message, opensStream, procedure, program, urgent } from "./program.js";
import { int, nothing, uchar, uhyper, uint, ushort } from "./xdr.js";
import { array, optional, struct } from "./xdr-compound.js";

const dom = nonnullDomain;
const xml = struct({ xml: nonnullString });
const domOnly = struct({ dom });
const domAndFlags = struct({ dom, flags: uint });
const cookieOut = struct({ cookieOut: cookie });
const cookieAndXml = struct({ cookieOut: cookie, xml: nonnullString });
const cookieAndUri = struct({ cookieOut: cookie, uriOut: nullableString });
const domAndCookie = struct({ dom, cookieOut: cookie });
const jobInfo = struct({
  type: int,
  timeElapsed: uhyper,
  timeRemaining: uhyper,
  dataTotal: uhyper,
  dataProcessed: uhyper,
  dataRemaining: uhyper,
  memTotal: uhyper,
  memProcessed: uhyper,
  memRemaining: uhyper,
  fileTotal: uhyper,
  fileProcessed: uhyper,
  fileRemaining: uhyper,
});
const nodeInfo = struct({
  model: characters(32),
  memory: uhyper,
  cpus: int,
  mhz: int,
  nodes: int,
  sockets: int,
  cores: int,
  threads: int,
});
/** Arguments that all fixed forms share. */
const how = { flags: uhyper, dname: nullableString, resource: uhyper };

/** Urgent procedures are libvirt's "high priority" ones, and those that must reach a migration while Perform runs. */
export const remote = program(
  { number: 0x2000_8086, version: 1 },
  {
    procedures: {
      authList: urgent(66, "own", nothing, struct({ types: array(int, 20) })),
      authPolkit: urgent(70, "own", nothing, struct({ complete: int })),
      connectOpen: urgent(1, "own", struct({ name: nullableString, flags: uint }), nothing),
      connectClose: urgent(2, "own", nothing, nothing),
      connectGetType: urgent(3, "read", nothing, struct({ type: nonnullString })),
      connectGetVersion: urgent(4, "read", nothing, struct({ hvVer: uhyper })),
      nodeGetInfo: procedure(6, "read", nothing, nodeInfo),
      connectGetCapabilities: procedure(7, "read", nothing, struct({ capabilities: nonnullString })),
      connectGetHostname: urgent(59, "read", nothing, struct({ hostname: nonnullString })),
      connectSupportsFeature: urgent(60, "own", struct({ feature: int }), struct({ supported: int })),
      connectGetUri: urgent(110, "read", nothing, struct({ uri: nonnullString })),
      connectGetLibVersion: urgent(157, "read", nothing, struct({ libVer: uhyper })),
      connectListAllDomains: urgent(
        273,
        "read",
        struct({ needResults: int, flags: uint }),
        struct({ domains: domainList, ret: uint }),
      ),
      connectGetAllDomainStats: procedure(
        344,
        "read",
        struct({ doms: domainList, stats: uint, flags: uint }),
        struct({ retStats: domainStats }),
      ),
      connectRegisterCloseCallback: urgent(360, "own", nothing, nothing),
      connectUnregisterCloseCallback: urgent(361, "own", nothing, nothing),
      connectDomainEventRegisterAny: urgent(167, "own", struct({ eventID: int }), nothing),
      connectDomainEventDeregisterAny: urgent(168, "own", struct({ eventID: int }), nothing),
      connectDomainEventCallbackRegisterAny: urgent(
        316,
        "own",
        struct({ eventID: int, dom: optional(dom) }),
        struct({ callbackID: int }),
      ),
      connectDomainEventCallbackDeregisterAny: urgent(317, "own", struct({ callbackID: int }), nothing),

      domainLookupById: urgent(22, "read", struct({ id: int }), domOnly),
      domainGetMessages: procedure(426, "read", domAndFlags, struct({ msgs: array(nonnullString, 2048) })),
      domainLookupByName: urgent(23, "read", struct({ name: nonnullString }), domOnly),
      domainLookupByUuid: urgent(24, "read", struct({ uuid }), domOnly),
      domainDefineXml: urgent(11, "write", xml, domOnly),
      domainDefineXmlFlags: urgent(350, "write", struct({ xml: nonnullString, flags: uint }), domOnly),
      domainCreate: procedure(9, "write", domOnly, nothing),
      domainCreateWithFlags: procedure(196, "write", domAndFlags, domOnly),
      domainCreateXml: procedure(10, "write", struct({ xmlDesc: nonnullString, flags: uint }), domOnly),
      domainDestroy: urgent(12, "write", domOnly, nothing),
      domainDestroyFlags: urgent(234, "write", domAndFlags, nothing),
      domainUndefine: urgent(35, "write", domOnly, nothing),
      domainUndefineFlags: urgent(231, "write", domAndFlags, nothing),
      domainSuspend: urgent(34, "write", domOnly, nothing),
      domainResume: procedure(28, "write", domOnly, nothing),
      domainShutdown: procedure(33, "write", domOnly, nothing),
      domainShutdownFlags: procedure(258, "write", domAndFlags, nothing),
      domainReboot: procedure(27, "write", domAndFlags, nothing),
      domainReset: procedure(245, "write", domAndFlags, nothing),
      domainGetXmlDesc: procedure(14, "read", domAndFlags, xml),
      domainGetOsType: procedure(19, "read", domOnly, struct({ type: nonnullString })),
      domainGetAutostart: urgent(15, "read", domOnly, struct({ autostart: int })),
      domainSetAutostart: urgent(29, "write", struct({ dom, autostart: int }), nothing),
      domainIsActive: urgent(150, "read", domOnly, struct({ active: int })),
      domainIsPersistent: urgent(151, "read", domOnly, struct({ persistent: int })),
      domainHasManagedSaveImage: urgent(183, "read", domAndFlags, struct({ result: int })),
      domainGetState: urgent(212, "read", domAndFlags, struct({ state: int, reason: int })),
      domainGetInfo: procedure(
        16,
        "read",
        domOnly,
        struct({ state: uchar, maxMem: uhyper, memory: uhyper, nrVirtCpu: ushort, cpuTime: uhyper }),
      ),

      domainGetVcpusFlags: procedure(200, "read", domAndFlags, struct({ num: int })),
      domainMemoryStats: procedure(
        159,
        "read",
        struct({ dom, maxStats: uint, flags: uint }),
        struct({ stats: memoryStats }),
      ),
      domainStartDirtyRateCalc: procedure(427, "write", struct({ dom, seconds: int, flags: uint }), nothing),

      domainGetJobInfo: urgent(163, "read", domOnly, jobInfo),
      domainGetJobStats: urgent(298, "read", domAndFlags, struct({ type: int, params: jobStats })),
      domainAbortJob: urgent(164, "write", domOnly, nothing),
      domainAbortJobFlags: urgent(442, "write", domAndFlags, nothing),
      domainMigrateStartPostCopy: urgent(364, "write", domAndFlags, nothing),
      domainMigrateSetMaxDowntime: urgent(
        166,
        "write",
        struct({ dom, downtime: uhyper, flags: uint }),
        nothing,
      ),
      domainMigrateGetMaxDowntime: urgent(387, "read", domAndFlags, struct({ downtime: uhyper })),
      domainMigrateSetMaxSpeed: urgent(
        207,
        "write",
        struct({ dom, bandwidth: uhyper, flags: uint }),
        nothing,
      ),
      domainMigrateGetMaxSpeed: urgent(242, "read", domAndFlags, struct({ bandwidth: uhyper })),
      domainMigrateGetCompressionCache: urgent(299, "read", domAndFlags, struct({ cacheSize: uhyper })),
      domainMigrateSetCompressionCache: urgent(
        300,
        "write",
        struct({ dom, cacheSize: uhyper, flags: uint }),
        nothing,
      ),

      domainMigrateBegin3Params: procedure(
        302,
        "write",
        struct({ dom, params: migrateParams, flags: uint }),
        cookieAndXml,
      ),
      domainMigratePrepare3Params: procedure(
        303,
        "write",
        struct({ params: migrateParams, cookieIn: cookie, flags: uint }),
        cookieAndUri,
      ),
      domainMigratePrepareTunnel3Params: opensStream(
        304,
        "write",
        struct({ params: migrateParams, cookieIn: cookie, flags: uint }),
        cookieOut,
      ),
      domainMigratePerform3Params: procedure(
        305,
        "write",
        struct({ dom, dconnuri: nullableString, params: migrateParams, cookieIn: cookie, flags: uint }),
        cookieOut,
      ),
      domainMigrateFinish3Params: procedure(
        306,
        "write",
        struct({ params: migrateParams, cookieIn: cookie, flags: uint, cancelled: int }),
        domAndCookie,
      ),
      domainMigrateConfirm3Params: procedure(
        307,
        "write",
        struct({ dom, params: migrateParams, cookieIn: cookie, flags: uint, cancelled: int }),
        nothing,
      ),

      domainMigrateBegin3: procedure(
        213,
        "write",
        struct({ dom, xmlin: nullableString, ...how }),
        cookieAndXml,
      ),
      domainMigratePrepare3: procedure(
        214,
        "write",
        struct({ cookieIn: cookie, uriIn: nullableString, ...how, domXml: nonnullString }),
        cookieAndUri,
      ),
      domainMigratePrepareTunnel3: opensStream(
        215,
        "write",
        struct({ cookieIn: cookie, ...how, domXml: nonnullString }),
        cookieOut,
      ),
      domainMigratePerform3: procedure(
        216,
        "write",
        struct({
          dom,
          xmlin: nullableString,
          cookieIn: cookie,
          dconnuri: nullableString,
          uri: nullableString,
          ...how,
        }),
        cookieOut,
      ),
      domainMigrateFinish3: procedure(
        217,
        "write",
        struct({
          dname: nonnullString,
          cookieIn: cookie,
          dconnuri: nullableString,
          uri: nullableString,
          flags: uhyper,
          cancelled: int,
        }),
        domAndCookie,
      ),
      domainMigrateConfirm3: procedure(
        218,
        "write",
        struct({ dom, cookieIn: cookie, flags: uhyper, cancelled: int }),
        nothing,
      ),

      domainMigratePrepare: procedure(
        61,
        "write",
        struct({ uriIn: nullableString, ...how }),
        struct({ cookie, uriOut: nullableString }),
      ),
      domainMigratePrepare2: procedure(
        108,
        "write",
        struct({ uriIn: nullableString, ...how, domXml: nonnullString }),
        struct({ cookie, uriOut: nullableString }),
      ),
      domainMigratePrepareTunnel: opensStream(
        148,
        "write",
        struct({ ...how, domXml: nonnullString }),
        nothing,
      ),
      domainMigratePerform: procedure(
        62,
        "write",
        struct({ dom, cookie, uri: nonnullString, ...how }),
        nothing,
      ),
      domainMigrateFinish: procedure(
        63,
        "write",
        struct({ dname: nonnullString, cookie, uri: nonnullString, flags: uhyper }),
        struct({ ddom: dom }),
      ),
      domainMigrateFinish2: procedure(
        109,
        "write",
        struct({ dname: nonnullString, cookie, uri: nonnullString, flags: uhyper, retcode: int }),
        struct({ ddom: dom }),
      ),
    },
    messages: {
      /** The older form, for a client without callback ids. */
      domainEventLifecycle: message(107, struct({ dom, event: int, detail: int })),
      domainEventCallbackLifecycle: message(318, struct({ callbackID: int, dom, event: int, detail: int })),
      domainEventCallbackMigrationIteration: message(359, struct({ callbackID: int, dom, iteration: int })),
      domainEventCallbackJobCompleted: message(363, struct({ callbackID: int, dom, params: jobStats })),
      connectEventConnectionClosed: message(362, struct({ reason: int })),
    },
  },
);

export const qemu = program(
  { number: 0x2000_8087, version: 1 },
  {
    procedures: {
      monitorCommand: procedure(
        1,
        "write",
        struct({ dom, cmd: nonnullString, flags: uint }),
        struct({ result: nonnullString }),
      ),
      domainAttach: procedure(2, "write", struct({ pid: uint, flags: uint }), domOnly),
    },
    messages: {},
  },
);
