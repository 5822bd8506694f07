// An echo server of ws. "close" makes it close the connection. It prints its port.
import { WebSocketServer } from 'ws'

const server = new WebSocketServer(
  { host: '127.0.0.1', port: 0, perMessageDeflate: true, maxPayload: 0, handleProtocols: (offered) => offered.has('v2') ? 'v2' : false },
  () => console.log(server.address().port)
)
server.on('connection', (socket) => {
  socket.on('message', (data, binary) => {
    if (!binary && String(data) === 'close') socket.close(4001, 'as you wish')
    else socket.send(data, { binary })
  })
})
