// Serial ports, consoles and channels.

import { join } from "node:path";
import type { Backend, Channel, Console } from "../schema/character.js";
import { controllerAt, controllerId, familyOf, idOf } from "../schema/derived-properties.js";
import type { DomainModel } from "../schema/domain.js";
import { type CommandLine, onOff, options } from "./command-line.js";

/** Maximum length of a unix socket's path, in bytes (unix(7)). */
const maxPathLength = 107;

/** @param directory for the sockets of channels that have no path of their own. */
export function addCharacters(line: CommandLine, model: DomainModel, directory: string | undefined): void {
  const { serials, consoles, channels } = model.devices;
  for (const [index, serial] of serials.entries()) {
    if (serial.target?.port !== undefined && serial.target.port !== index) {
      line.conflict(
        serial.target,
        "port",
        `its position in the list makes it serial port ${index}`,
        "use that port number",
      );
    }
    if (index > 3)
      line.unsupported(serial, undefined, "a fifth serial port is not supported", "remove it: a PC has four");
    const chardev = `charserial${index}`;
    line.host("-chardev", backendOf(line, serial, chardev));
    line.device(serial, "isa-serial", { id: idOf(serial, `serial${index}`), chardev, index });
  }
  for (const [index, console_] of consoles.entries()) addConsole(line, model, console_, index);
  for (const [index, channel] of channels.entries()) addChannel(line, model, channel, index, directory);
  checkPorts(line, model);
}

/** Refuses ports that share a name, or a number on one controller: QEMU identifies a port by them. */
function checkPorts(line: CommandLine, { devices: { consoles, channels } }: DomainModel): void {
  const taken = new Set<string>();
  const take = (part: object, key: string, what: string) => {
    if (taken.has(what)) line.conflict(part, key, `another port is ${what}`, "give each port its own");
    taken.add(what);
  };
  for (const console of [...consoles, ...channels]) {
    if (console.address !== undefined)
      take(
        console.address,
        "port",
        `port ${console.address.port} of controller ${console.address.controller}`,
      );
  }
  for (const { target } of channels) take(target, "name", `named ${target.name}`);
}

function addConsole(line: CommandLine, model: DomainModel, console_: Console, index: number): void {
  if (console_.target?.type === "virtio") {
    const chardev = `charconsole${index}`;
    line.host("-chardev", backendOf(line, console_, chardev));
    line.device(console_, "virtconsole", {
      id: idOf(console_, `console${index}`),
      chardev,
      ...onPort(line, model, console_),
    });
    return;
  }
  const [serial] = model.devices.serials;
  if (index > 0) {
    line.unsupported(
      console_,
      undefined,
      "a second console on a serial port is not supported",
      'use <target type="virtio">',
    );
  } else if (serial?.type !== console_.type) {
    line.conflict(
      console_,
      "type",
      "the first console is an alias of the first serial port",
      "give both the same type",
    );
  }
}

function addChannel(
  line: CommandLine,
  model: DomainModel,
  channel: Channel,
  index: number,
  directory: string | undefined,
): void {
  const chardev = `charchannel${index}`;
  const { name } = channel.target;
  const path = directory === undefined ? undefined : join(directory, name);
  line.host("-chardev", backendOf(line, channel, chardev, path));
  line.device(channel, "virtserialport", {
    id: idOf(channel, `channel${index}`),
    chardev,
    name,
    ...onPort(line, model, channel),
  });
}

function onPort(line: CommandLine, model: DomainModel, device: Console | Channel) {
  const { controller = 0, port: nr = 1 } = device.address ?? {};
  const bus = controllerAt(model, "virtio-serial", controller);
  if (bus === undefined) {
    line.conflict(
      device.address ?? device,
      "controller",
      `there is no virtio-serial controller ${controller}`,
      "add it",
    );
    return {};
  }
  if (bus.type === "virtio-serial" && nr >= (bus.ports ?? 31)) {
    line.conflict(
      device.address ?? device,
      "port",
      "the controller does not have this port",
      "increase the controller's number of ports",
    );
  }
  return { bus: `${controllerId(bus, familyOf(model))}.0`, nr };
}

function backendOf(line: CommandLine, backend: Backend, id: string, ownPath?: string): string {
  switch (backend.type) {
    case "pty":
    case "null":
      return options(backend.type, { id });
    case "file":
      return options("file", { id, path: backend.source.path, append: onOff(backend.source.append) });
    case "unix": {
      const { mode = "bind", path = ownPath } = backend.source ?? {};
      if (path === undefined) {
        line.missing(
          backend.source ?? backend,
          backend.source === undefined ? "source" : "path",
          "add <source path>",
        );
      } else if (Buffer.byteLength(path) > maxPathLength) {
        line.unsupported(
          backend.source ?? backend,
          "path",
          `${path} is too long for a unix socket`,
          "choose a shorter path",
        );
      }
      return options("socket", { id, path, ...listening(mode) });
    }
    case "tcp": {
      const { mode, host, service: port } = backend.source;
      const telnet = backend.protocol?.type === "telnet" ? "on" : undefined;
      return options("socket", { id, host, port, telnet, ...listening(mode) });
    }
  }
}

const listening = (mode: "bind" | "connect") => (mode === "bind" ? { server: "on", wait: "off" } : {});
