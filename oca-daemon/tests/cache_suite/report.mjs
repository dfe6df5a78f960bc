// Judges a run of the HTTP cache-tests (github.com/http-tests/cache-tests) against docs/CACHE_TESTS.md.
//
//   node report.mjs TESTS RESULTS DOCUMENT SECTION
//
// TESTS is the suite's folder of tests, RESULTS what its client wrote, SECTION the heading in DOCUMENT under which the required tests
// that do not pass are listed, one row each: | `id` | reason |.
//
// Exit codes: 0 what does not pass is listed, 1 something else does not pass, 64 usage.
import fs from 'fs'
import path from 'path'
import process from 'process'
import { pathToFileURL } from 'url'

const [folder, resultsFile, documentFile, section] = process.argv.slice(2)
if (section === undefined) {
  console.error('usage: node report.mjs TESTS RESULTS DOCUMENT SECTION')
  process.exit(64)
}

const load = async name => (await import(pathToFileURL(path.resolve(folder, name)).href)).default
const suites = await load('index.mjs')
// The release on npm has this suite beside the index, and runs it too.
if (fs.existsSync(path.join(folder, 'surrogate-control.mjs'))) suites.push(await load('surrogate-control.mjs'))
const tests = new Map(suites.flatMap(suite => suite.tests.map(test => [test.id, test])))
const results = JSON.parse(fs.readFileSync(resultsFile))

// What became of a test, by the rules of the suite's own pages: one that stands on another which did not pass says nothing.
function judge (id) {
  const { depends_on: needs = [], kind = 'required' } = tests.get(id)
  const result = results[id]
  if (result === undefined) return 'untested'
  if (needs.some(need => judge(need) !== 'pass')) return 'dependency'
  if (result === true) return 'pass'
  if (result[0] === 'Setup') return result[1] === 'retry' ? 'retry' : 'setup'
  return kind === 'required' && result[0] !== 'Assertion' ? 'harness' : 'fail'
}

const why = id => Array.isArray(results[id]) ? results[id].join(': ') : 'it stands on one that does not pass'
const applies = test => test.browser_only !== true
const kinds = ['required', 'optimal', 'check']
const total = Object.fromEntries(kinds.map(kind => [kind, { pass: 0, fail: 0, other: 0 }]))
const count = (counts, id) => {
  const { kind = 'required' } = tests.get(id)
  const verdict = judge(id)
  counts[kind][verdict === 'pass' ? 'pass' : ['fail', 'harness'].includes(verdict) ? 'fail' : 'other'] += 1
}
const cells = counts => kinds.map(kind => `${counts[kind].pass} / ${counts[kind].fail} / ${counts[kind].other}`).join(' | ')

console.log('| suite | required | optimal | check |\n|---|---|---|---|')
for (const suite of suites) {
  const counts = Object.fromEntries(kinds.map(kind => [kind, { pass: 0, fail: 0, other: 0 }]))
  for (const test of suite.tests.filter(applies)) {
    count(counts, test.id)
    count(total, test.id)
  }
  console.log(`| ${suite.name} | ${cells(counts)} |`)
}
console.log(`| **all** | ${cells(total)} |\n`)

const document = fs.readFileSync(documentFile, 'utf8')
const listed = new Set()
const start = document.indexOf(`## ${section}\n`)
const end = document.indexOf('\n## ', start + 1)
if (start >= 0) {
  for (const [, id] of document.slice(start, end < 0 ? undefined : end).matchAll(/^\| `([^`]+)` \|/gm)) listed.add(id)
}

let unexpected = 0
for (const [id, test] of tests) {
  const { kind = 'required' } = test
  if (!applies(test)) continue
  const verdict = judge(id)
  if (verdict !== 'pass' && process.env.VERBOSE) console.log(`${kind} ${verdict}: ${id}: ${why(id)}`)
  if (kind !== 'required') continue
  if (verdict === 'pass' && listed.has(id)) console.log(`passes, and is listed as one that does not: ${id}`)
  if (verdict !== 'pass' && !listed.has(id)) {
    console.log(`does not pass (${verdict}): ${id}: ${why(id)}`)
    unexpected += 1
  }
}
console.log(unexpected === 0 ? `All required tests pass but for those listed under "${section}".` : `${unexpected} required tests do not pass, and are not listed.`)
process.exit(unexpected === 0 ? 0 : 1)
