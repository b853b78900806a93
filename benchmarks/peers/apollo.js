// Apollo Server on express and mongoose: node apollo.js documents|lean
import { ApolloServer } from '@apollo/server'
import { expressMiddleware } from '@as-integrations/express5'
import DataLoader from 'dataloader'
import express from 'express'
import mongoose from 'mongoose'
import {
  AUDIT, auditRow, booking, bounds, clinics, connection, fields, inProcesses, scalars, settings, tenantOf, typeDefs,
} from './common.js'

const { Schema, Types } = mongoose
const lean = process.argv[2] === 'lean'
const Id = Schema.Types.ObjectId
const model = (name, collection, shape) => mongoose.model(name, new Schema(shape, { collection, versionKey: false }))

const step = new Schema({
  at: Date, by: Id, by_patient: Boolean, action: String, status: String, starts_at: Date, reason: String,
}, { _id: false })
const Appointment = model('Appointment', 'appointments', {
  tenant_id: Id,
  patient_id: Id,
  doctor_id: Id,
  room_id: Id,
  service_id: Id,
  starts_at: Date,
  ends_at: Date,
  status: String,
  reason: String,
  notes: String,
  overbook_reason: String,
  cancel_reason: String,
  claims: [String],
  requests: [Schema.Types.Mixed],
  history: [step],
  created_by: Id,
  version: Number,
  created_at: Date,
  updated_at: Date,
})
const Patient = model('Patient', 'patients', {
  tenant_ids: [Id],
  given_name: String,
  family_name: String,
  name_key: String,
  given_key: String,
  birth_date: String,
  sex: String,
  phone: String,
  phone_key: String,
  email: String,
  address: new Schema({
    street: String, city: String, state: String, zip_code: String, country: String,
  }, { _id: false }),
  contacts: [Schema.Types.Mixed],
  allergies: [Schema.Types.Mixed],
  version: Number,
  created_at: Date,
  updated_at: Date,
})
const Staff = model('Staff', 'staff', {
  tenant_id: Id,
  kind: String,
  name: String,
  name_key: String,
  user_id: Id,
  email: String,
  phone: String,
  title: String,
  license_number: String,
  bio: String,
  specialization_ids: [Id],
  version: Number,
  created_at: Date,
  updated_at: Date,
  archived_at: Date,
})
const Audit = model('Audit', AUDIT, {
  tenant_id: Id,
  at: Date,
  user_id: Id,
  action: String,
  result: String,
  patient_ids: [Id],
  collections: { type: [String] },
  subject: String,
  request_id: String,
  address: String,
})

const read = (query) => (lean ? query.lean() : query)

function context(tenant) {
  const loader = (kind, owner) => new DataLoader(async (ids) => {
    const rows = await read(kind.find({ _id: { $in: ids }, [owner]: tenant }))
    const found = new Map(rows.map((row) => [row._id.toString(), row]))
    return ids.map((id) => found.get(id.toString()) ?? null)
  }, { cacheKeyFn: (id) => id.toString() })
  return { tenant, patients: loader(Patient, 'tenant_ids'), doctors: loader(Staff, 'tenant_id') }
}

const resolvers = {
  ...scalars,
  Query: {
    async appointments(_, { filter, first }, { tenant }) {
      const where = { tenant_id: tenant, starts_at: bounds(filter.day) }
      return connection(await read(Appointment.find(where).sort({ starts_at: 1, _id: 1 }).limit(first + 1)), first)
    },
    async patient(_, { id }, { tenant }) {
      const row = await read(Patient.findOne({ _id: new Types.ObjectId(id), tenant_ids: tenant }))
      if (row === null) throw new Error('not found')
      return row
    },
  },
  Mutation: {
    async createAppointment(_, { input }, { tenant }) {
      const row = await Appointment.create(booking(tenant, input))
      await Audit.create(auditRow(tenant, row.patient_id))
      return row
    },
  },
  AppointmentEdge: fields.edge,
  Appointment: {
    ...fields.appointment,
    patient: (row, _, { patients }) => patients.load(row.patient_id),
    doctor: (row, _, { doctors }) => doctors.load(row.doctor_id),
  },
  Patient: {
    ...fields.patient,
    async appointments(row, { first }, { tenant }) {
      const latest = Appointment.find({ tenant_id: tenant, patient_id: row._id }).sort({ starts_at: -1, _id: -1 })
      return connection(await read(latest.limit(first + 1)), first)
    },
  },
  Staff: fields.staff,
}

inProcesses(async () => {
  await mongoose.connect(settings.uri, { dbName: settings.database, autoIndex: false, writeConcern: { w: 'majority' } })
  const known = await clinics(mongoose.connection.db)
  const server = new ApolloServer({ typeDefs, resolvers })
  await server.start()
  const app = express()
  app.use('/graphql', express.json(), expressMiddleware(server, {
    context: async ({ req }) => context(tenantOf(known, req.headers.host)),
  }))
  app.listen(settings.port, '127.0.0.1')
})
