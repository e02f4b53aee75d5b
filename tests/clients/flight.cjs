// What the client of InfluxDB 3 for JavaScript gets from a node. Arguments: the port and a token.
// The node has the database `plant` with the tables that flight.py describes.

const assert = require('node:assert')
const { InfluxDBClient, Point } = require('@influxdata/influxdb3-client')

const [port, token] = process.argv.slice(2)
const MILLISECOND = 1737392500690

async function rows(answer) {
  const found = []
  for await (const row of answer) found.push(row)
  return found
}

async function main() {
  const db = new InfluxDBClient({ host: `http://127.0.0.1:${port}`, token, database: 'plant' })

  const [row] = await rows(db.query('SELECT name, temp, hum, n, "on", s, time FROM room'))
  const { time, ...fields } = row
  assert.deepEqual(fields, { name: 'a', temp: 20.5, hum: 40, n: 7n, on: true, s: 'x "y"' })
  assert.equal(Math.floor(time), MILLISECOND)

  const params = { least: 20, name: 'a' }
  const text = 'SELECT count(*) AS n FROM room WHERE temp > $least AND name = $name'
  assert.deepEqual(await rows(db.query(text, 'plant', { type: 'sql', params })), [{ n: 1 }])

  await db.write('fromjs,k=line v=1 1000000')
  await db.write(Point.measurement('fromjs').setTag('k', 'point').setFloatField('v', 2).setTimestamp(new Date(2)))
  const points = await rows(db.queryPoints('SELECT * FROM fromjs ORDER BY time'))
  const shown = points.map((p) => [p.getTagNames(), p.getTag('k'), p.getFieldNames(), p.getFloatField('v'), p.getTimestamp()])
  assert.deepEqual(shown, [[['k'], 'line', ['v'], 1, 1], [['k'], 'point', ['v'], 2, 2]])

  assert.equal((await rows(db.query('SELECT v FROM seq'))).length, 20000)
  await assert.rejects(rows(db.query('SELECT * FROM nope')), /table 'public.iox.nope' not found/)
  await assert.rejects(rows(db.query('SELECT 1', 'nowhere')), /database not found: nowhere/)
  await assert.rejects(rows(db.query('SELECT 1', 'plant', { type: 'influxql' })), /only SQL is/)
  await db.close()
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
