import { crc32 } from "node:zlib";

/** The stored members of a zip archive, by name, as torch.save writes one. */
export function membersOf(archive: Uint8Array): Map<string, Uint8Array> {
  const view = new DataView(archive.buffer, archive.byteOffset, archive.byteLength);
  const members = new Map<string, Uint8Array>();
  let at = view.getUint32(archive.length - 22 + 16, true);
  for (let left = view.getUint16(archive.length - 22 + 10, true); left > 0; left--) {
    const nameLength = view.getUint16(at + 28, true);
    const local = view.getUint32(at + 42, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    members.set(new TextDecoder().decode(archive.subarray(at + 46, at + 46 + nameLength)), archive.slice(start, start + view.getUint32(at + 24, true)));
    at += 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return members;
}

/** An archive of members with checksums that are right, so that damage within them is looked at. */
export function archiveOf(members: ReadonlyMap<string, Uint8Array>): Uint8Array {
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let at = 0;
  for (const [name, data] of members) {
    const nameBytes = new TextEncoder().encode(name);
    const local = header(30, 0x04034b50, 14, data, nameBytes.length);
    const central = header(46, 0x02014b50, 16, data, nameBytes.length);
    new DataView(central.buffer).setUint32(42, at, true);
    parts.push(local, nameBytes, data);
    directory.push(central, nameBytes);
    at += local.length + nameBytes.length + data.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, members.size, true);
  end.setUint16(10, members.size, true);
  end.setUint32(12, size, true);
  end.setUint32(16, at, true);
  return Buffer.concat([...parts, ...directory, new Uint8Array(end.buffer)]);
}

function header(size: number, signature: number, checksumAt: number, data: Uint8Array, nameLength: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, signature, true);
  view.setUint32(checksumAt, crc32(data), true);
  view.setUint32(checksumAt + 4, data.length, true);
  view.setUint32(checksumAt + 8, data.length, true);
  view.setUint16(checksumAt + 12, nameLength, true);
  return bytes;
}
