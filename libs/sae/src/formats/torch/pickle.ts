import { MARK, PickleMachine } from "./pickle-machine.ts";
import type { PickleValue } from "./pickle-values.ts";

const STOP = 0x2e;

// Some 40 opcodes describe a tensor; each may make an object far larger than its byte in the file.
const MOST_OPCODES = 1 << 18;

const STEPS: ReadonlyMap<number, (machine: PickleMachine) => void> = new Map<number, (machine: PickleMachine) => void>([
  [0x80, (m) => m.skip(1)], // PROTO
  [0x95, (m) => m.skip(8)], // FRAME
  [0x28, (m) => m.push(MARK)],
  [0x4e, (m) => m.push(null)],
  [0x88, (m) => m.push(true)],
  [0x89, (m) => m.push(false)],
  [0x4a, (m) => m.push(m.i32())], // BININT
  [0x4b, (m) => m.push(m.u8())],
  [0x4d, (m) => m.push(m.u16())],
  [0x8a, (m) => m.push(m.long(m.u8()))], // LONG1
  [0x47, (m) => m.push(m.float())], // BINFLOAT
  [0x58, (m) => m.push(m.text(m.u32()))], // BINUNICODE
  [0x8c, (m) => m.push(m.text(m.u8()))],
  [0x7d, (m) => m.push(new Map())], // EMPTY_DICT
  [0x5d, (m) => m.push([])], // EMPTY_LIST
  [0x29, (m) => m.tuple([])], // EMPTY_TUPLE
  [0x85, (m) => m.tuple([m.pop()])],
  [0x86, (m) => m.tuple([m.pop(), m.pop()].toReversed())],
  [0x87, (m) => m.tuple([m.pop(), m.pop(), m.pop()].toReversed())],
  [0x74, (m) => m.tuple(m.popMarked())],
  [0x75, (m) => m.setItems(m.popMarked())],
  [0x73, (m) => m.setItems([m.pop(), m.pop()].toReversed())],
  [0x61, (m) => m.append([m.pop()])],
  [0x65, (m) => m.append(m.popMarked())],
  [0x71, (m) => m.remember(m.u8())], // BINPUT
  [0x72, (m) => m.remember(m.u32())],
  [0x94, (m) => m.rememberNext()], // MEMOIZE
  [0x68, (m) => m.recall(m.u8())], // BINGET
  [0x6a, (m) => m.recall(m.u32())],
  [0x63, (m) => m.global(m.line(), m.line())], // GLOBAL
  [0x93, (m) => { // STACK_GLOBAL
    const name = m.pop();
    const module = m.pop();
    m.global(typeof module === "string" ? module : "?", typeof name === "string" ? name : "?");
  }],
  [0x51, (m) => m.storage()], // BINPERSID
  [0x52, (m) => m.reduce()],
  [0x62, (m) => m.build()],
]);

/**
 * Interprets the pickle of a torch state dict. Nothing is imported or called: names outside a closed list
 * (ordered dict, tensor and parameter rebuild, storages) and opcodes that such files do not use are refused with an InputError.
 */
export function readPickle(bytes: Uint8Array, file: string): PickleValue {
  const machine = new PickleMachine(bytes, file);
  for (let done = 0; ; done++) {
    if (done === MOST_OPCODES) throw machine.refuse("the pickle is too long for a state dict", `more than ${MOST_OPCODES} opcodes`, `at most ${MOST_OPCODES}`);
    const start = machine.position;
    const opcode = machine.u8();
    if (opcode === STOP) return machine.finish();
    const step = STEPS.get(opcode);
    if (step === undefined) throw machine.refuse(`opcode 0x${opcode.toString(16)} at byte ${start} is not allowed`, `0x${opcode.toString(16)}`, "an opcode of a plain state dict");
    step(machine);
  }
}
