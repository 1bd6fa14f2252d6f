// Display and input devices: VNC, the video card, keyboard, mouse and tablet.

import { controllerAt, controllerId, familyOf, idOf, inputBus } from "../schema/derived-properties.js";
import type { Graphics, Input, Video } from "../schema/device.js";
import type { DomainModel } from "../schema/domain.js";
import { onPci } from "./addresses.js";
import { type CommandLine, escaped, options } from "./command-line.js";

export function addDisplay(line: CommandLine, model: DomainModel): void {
  const { graphics, videos, inputs } = model.devices;
  for (const [index, graphic] of graphics.entries()) {
    if (index > 0)
      line.unsupported(graphic, undefined, "a second display is not supported", "keep one <graphics>");
    else line.host("-vnc", vncOf(line, graphic));
  }
  for (const [index, video] of videos.entries()) {
    if (index > 0)
      line.unsupported(video, undefined, "a second video card is not supported", "keep one <video>");
    else addVideo(line, model, video);
  }
  const places = new Set<string>();
  for (const [index, input] of inputs.entries()) addInput(line, model, input, index, places);
}

const firstPort = 5900;

function vncOf(line: CommandLine, graphics: Graphics): string {
  const [listen, second] = graphics.listens;
  if (second !== undefined)
    line.unsupported(second, undefined, "a second listen address is not supported", "keep one <listen>");
  const socket = graphics.socket ?? (listen?.type === "socket" ? listen.socket : undefined);
  const rest = {
    share: graphics.sharePolicy,
    websocket: graphics.websocket === -1 ? "on" : graphics.websocket,
  };
  if (socket !== undefined) return options(`unix:${escaped(socket)}`, rest);
  if (listen?.type === "none") return options("none", rest);
  const given = (listen?.type === "address" ? listen.address : undefined) ?? graphics.listen ?? "127.0.0.1";
  const host = given.includes(":") ? `[${given}]` : given;
  const { port = -1, autoport = port === -1 } = graphics;
  if (!autoport && port < firstPort) {
    line.unsupported(
      graphics,
      "port",
      `VNC ports below ${firstPort} are not supported`,
      'choose a higher port, or autoport="yes"',
    );
  }
  if (autoport) return options(`${escaped(host)}:0`, { to: 99, ...rest });
  return options(`${escaped(host)}:${port - firstPort}`, rest);
}

function addVideo(line: CommandLine, model: DomainModel, video: Video): void {
  if (video.model.type === "none") return;
  const [driver, properties] = cardOf(line, video.model);
  line.device(video, driver, { id: idOf(video, "video0"), ...onPci(line, model, video), ...properties });
}

type Card = Exclude<Video["model"], { type: "none" }>;

function cardOf(line: CommandLine, card: Card): [driver: string, Readonly<Record<string, string | number>>] {
  const mib = (kib: number | undefined, key: string, otherwise: number) => {
    const size = (kib ?? otherwise) / 1024;
    if (kib !== undefined && (size < 1 || !Number.isInteger(Math.log2(size)))) {
      line.unsupported(card, key, "the size is not a power of two in MiB", "choose 1024, 2048, 4096 … (KiB)");
    }
    return size;
  };
  switch (card.type) {
    case "vga":
      return ["VGA", { vgamem_mb: mib(card.vram, "vram", 16_384) }];
    case "cirrus":
      return ["cirrus-vga", {}];
    case "virtio":
      return ["virtio-vga", { max_outputs: card.heads ?? 1 }];
    case "bochs":
      return ["bochs-display", { vgamem: mib(card.vram, "vram", 16_384) * 2 ** 20 }];
    case "qxl":
      return [
        "qxl-vga",
        {
          max_outputs: card.heads ?? 1,
          ram_size: mib(card.ram, "ram", 65_536) * 2 ** 20,
          vram_size: mib(card.vram, "vram", 65_536) * 2 ** 20,
          vram64_size_mb: card.vram64 === undefined ? 0 : mib(card.vram64, "vram64", 0),
          vgamem_mb: mib(card.vgamem, "vgamem", 16_384),
        },
      ];
  }
}

const names = {
  usb: { tablet: "usb-tablet", mouse: "usb-mouse", keyboard: "usb-kbd" },
  virtio: { tablet: "virtio-tablet-pci", mouse: "virtio-mouse-pci", keyboard: "virtio-keyboard-pci" },
} as const;

function addInput(
  line: CommandLine,
  model: DomainModel,
  input: Input,
  index: number,
  places: Set<string>,
): void {
  const bus = inputBus(input);
  if (bus === "ps2") {
    if (input.type === "tablet")
      line.unsupported(input, "bus", "a tablet on PS/2 is not supported", "use bus usb or virtio");
    if (input.address !== undefined)
      line.conflict(input.address, undefined, "a PS/2 device does not have an address", "remove it");
    return;
  }
  const place = bus === "virtio" ? onPci(line, model, input) : onUsb(line, model, input, places);
  line.device(input, names[bus][input.type], { id: idOf(input, `input${index}`), ...place });
}

function onUsb(line: CommandLine, model: DomainModel, input: Input, places: Set<string>) {
  const { address } = input;
  if (address?.type !== "usb") {
    line.conflict(input, "address", "no USB port is free for it", "add ports or a USB controller");
    return {};
  }
  const controller = controllerAt(model, "usb", address.bus);
  const place = `${address.bus} ${address.port}`;
  if (controller === undefined) line.conflict(address, "bus", "there is no such USB controller", "add it");
  if (places.has(place))
    line.conflict(address, "port", "another device uses this port", "choose another port");
  places.add(place);
  const on = controller === undefined ? "usb" : controllerId(controller, familyOf(model));
  return { bus: `${on}.0`, port: address.port };
}
