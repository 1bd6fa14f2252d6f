// libvirt's migration steps in each form: version 3 with extensible parameters, version 3 with fixed parameters, and
// version 2. All forms call the same five functions.

import { version2NeedsIds } from "../../drivers/libvirt/client/negotiation.js";
import type { Domain as WireDomain } from "../../drivers/libvirt/rpc/libvirt-types.js";
import type { remote } from "../../drivers/libvirt/rpc/procedures.js";
import type { Handlers, RpcClient } from "../../drivers/libvirt/rpc/service.js";
import type { RpcStream } from "../../drivers/libvirt/rpc/stream.js";
import type { Host } from "../host.js";
import { readPrepareCookie } from "../migrations/cookies.js";
import { checkTogether } from "../migrations/flag-conflicts.js";
import { OfflineMigrations } from "../migrations/offline.js";
import type { Migrations } from "../migrations/registry.js";
import { requestOf, requestOfFixed, type StepRequest } from "../migrations/request.js";
import { libvirtError } from "./errors.js";
import { toWireDomain } from "./wire-domain.js";

const empty = new Uint8Array();

export function stepHandlers(host: Host, migrations: Migrations): Handlers<typeof remote.procedures> {
  const { domains } = host;
  const offline = new OfflineMigrations(host);
  const of = ({ uuid }: WireDomain) => domains.byUuid(uuid);
  const isOffline = ({ flags }: StepRequest) => flags.has("OFFLINE");

  const begin = async (client: RpcClient, dom: WireDomain, request: StepRequest) => {
    checkTogether(request, { side: "source" });
    const entry = of(dom);
    const { xml, cookieOut } = isOffline(request)
      ? await offline.begin(entry, request, client)
      : await migrations.begin(entry, request, client);
    return { xml, cookieOut };
  };
  const prepare = (client: RpcClient, request: StepRequest, tunnel?: RpcStream) => {
    checkTogether(request, { side: "destination", isTunnelPrepared: tunnel !== undefined });
    return isOffline(request)
      ? offline.prepare(request, client)
      : migrations.prepare(request, client, tunnel);
  };
  const perform = async (
    client: RpcClient,
    dom: WireDomain,
    request: StepRequest,
    destinationUri: string | null,
  ) => {
    checkTogether(request, { side: "source" });
    if (!isOffline(request)) return migrations.perform(of(dom), request, destinationUri, client);
    if (destinationUri === null)
      throw libvirtError("OPERATION_INVALID", "an offline migration has no Perform step");
    await offline.peerToPeer(of(dom), request, destinationUri);
    return { cookieOut: empty };
  };
  const finish = async (client: RpcClient, request: StepRequest, cancelled: boolean) => {
    const { name } = request.parameters;
    if (name === undefined) throw libvirtError("INVALID_ARG", "no destination name passed");
    const { entry, cookieOut } = isOffline(request)
      ? await offline.finish(name, cancelled, client)
      : await migrations.finish(name, cancelled, request, client);
    return { dom: toWireDomain(entry), cookieOut };
  };
  const confirm = async (client: RpcClient, dom: WireDomain, request: StepRequest, cancelled: boolean) => {
    await (isOffline(request)
      ? offline.confirm(of(dom), request, cancelled, client)
      : migrations.confirm(of(dom), cancelled, request, client));
  };

  return {
    domainMigrateBegin3Params: ({ dom, params, flags }, client) =>
      begin(client, dom, requestOf(params, empty, flags)),
    domainMigratePrepare3Params: ({ params, cookieIn, flags }, client) =>
      prepare(client, requestOf(params, cookieIn, flags)),
    domainMigratePrepareTunnel3Params: ({ params, cookieIn, flags }, client, stream) =>
      prepare(client, requestOf(params, cookieIn, flags), stream),
    domainMigratePerform3Params: ({ dom, dconnuri, params, cookieIn, flags }, client) =>
      perform(client, dom, requestOf(params, cookieIn, flags), dconnuri),
    domainMigrateFinish3Params: ({ params, cookieIn, flags, cancelled }, client) =>
      finish(client, requestOf(params, cookieIn, flags), cancelled !== 0),
    domainMigrateConfirm3Params: ({ dom, params, cookieIn, flags, cancelled }, client) =>
      confirm(client, dom, requestOf(params, cookieIn, flags), cancelled !== 0),

    domainMigrateBegin3: ({ dom, xmlin, flags, dname, resource }, client) =>
      begin(client, dom, requestOfFixed({ xml: xmlin, name: dname, resource, flags }, empty)),
    domainMigratePrepare3: ({ cookieIn, uriIn, flags, dname, resource, domXml }, client) =>
      prepare(client, requestOfFixed({ uri: uriIn, name: dname, xml: domXml, resource, flags }, cookieIn)),
    domainMigratePrepareTunnel3: ({ cookieIn, flags, dname, resource, domXml }, client, stream) =>
      prepare(client, requestOfFixed({ name: dname, xml: domXml, resource, flags }, cookieIn), stream),
    domainMigratePerform3: ({ dom, xmlin, cookieIn, dconnuri, uri, flags, dname, resource }, client) =>
      perform(
        client,
        dom,
        requestOfFixed({ uri, name: dname, xml: xmlin, resource, flags }, cookieIn),
        dconnuri,
      ),
    domainMigrateFinish3: ({ dname, cookieIn, uri, flags, cancelled }, client) =>
      finish(client, requestOfFixed({ uri, name: dname, flags }, cookieIn), cancelled !== 0),
    domainMigrateConfirm3: ({ dom, cookieIn, flags, cancelled }, client) =>
      confirm(client, dom, requestOfFixed({ flags }, cookieIn), cancelled !== 0),

    domainMigratePrepare2: async ({ uriIn, flags, dname, resource, domXml }, client) => {
      const request = requestOfFixed({ uri: uriIn, name: dname, xml: domXml, resource, flags }, empty);
      const { cookieOut, uriOut } = await prepare(client, request);
      return { cookie: cookieOut, uriOut };
    },
    domainMigratePerform: async ({ dom, cookie, uri, flags, dname, resource }, client) => {
      const request = requestOfFixed({ uri, name: dname, resource, flags }, cookie);
      const { uri: _, ...parameters } = request.parameters;
      // The source would have to remove its definition before the destination has it.
      if (isOffline(request))
        throw libvirtError("OPERATION_INVALID", "an offline migration requires protocol version 3");
      if (request.flags.has("PEER2PEER")) await perform(client, dom, { ...request, parameters }, uri);
      else {
        const { switchover } = readPrepareCookie(host, request.cookie, of(dom)) ?? {};
        if (switchover?.settle === undefined) throw libvirtError("ARGUMENT_UNSUPPORTED", version2NeedsIds);
        await migrations.performAlone(of(dom), request);
      }
    },
    domainMigrateFinish2: async ({ dname, flags, retcode }, client) => {
      // Finish2 carries Prepare's cookie, which this host wrote itself.
      const { dom } = await finish(client, requestOfFixed({ name: dname, flags }, empty), retcode !== 0);
      return { ddom: dom };
    },
  };
}
