// The client of java.net.http.

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

public class JavaClient {
    static final String TEXT = "Gr\u00fc\u00dfe \u20ac \ud834\udd1e";
    static final String[] PIECES = {"one ", "", "tw\u00f6 ", "three"};
    static final String PING = "ping \u20ac";
    static final String REASON = "see you \u20ac";
    static final HttpClient HTTP = HttpClient.newHttpClient();
    static String url;

    /** Puts messages together and queues what happens, each as a JSON value, or as the raw bytes of a large message. */
    static class Events implements WebSocket.Listener {
        final LinkedBlockingQueue<Object> queue = new LinkedBlockingQueue<>();
        final StringBuilder text = new StringBuilder();
        final java.io.ByteArrayOutputStream binary = new java.io.ByteArrayOutputStream();

        @Override public CompletionStage<?> onText(WebSocket socket, CharSequence data, boolean last) {
            text.append(data);
            if (last) {
                queue.add(text.toString());
                text.setLength(0);
            }
            socket.request(1);
            return null;
        }

        @Override public CompletionStage<?> onBinary(WebSocket socket, ByteBuffer data, boolean last) {
            byte[] bytes = new byte[data.remaining()];
            data.get(bytes);
            binary.writeBytes(bytes);
            if (last) {
                queue.add(binary.toByteArray());
                binary.reset();
            }
            socket.request(1);
            return null;
        }

        @Override public CompletionStage<?> onPong(WebSocket socket, ByteBuffer message) {
            queue.add(StandardCharsets.UTF_8.decode(message).toString());
            socket.request(1);
            return null;
        }

        @Override public CompletionStage<?> onClose(WebSocket socket, int code, String reason) {
            queue.add(Map.entry(code, reason));
            return null;
        }

        @Override public void onError(WebSocket socket, Throwable error) {
            queue.add(error);
        }

        Object next() throws Exception {
            Object event = queue.poll(20, TimeUnit.SECONDS);
            if (event == null) throw new Exception("nothing within 20 s");
            if (event instanceof Throwable error) throw new Exception(error);
            return event;
        }
    }

    static String quoted(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            out.append(c < 32 || c > 126 || c == '"' || c == '\\' ? String.format("\\u%04x", (int) c) : String.valueOf(c));
        }
        return out.append('"').toString();
    }

    static String shown(Object message) {
        return message instanceof byte[] bytes ? "{\"binary\": \"" + HexFormat.of().formatHex(bytes) + "\"}"
            : "{\"text\": " + quoted((String) message) + "}";
    }

    static WebSocket connected(String path, Events events) throws Exception {
        return HTTP.newWebSocketBuilder().buildAsync(URI.create(url + path), events).get(20, TimeUnit.SECONDS);
    }

    interface Use { String with(WebSocket socket, Events events) throws Exception; }

    static String on(String path, Use use) throws Exception {
        Events events = new Events();
        WebSocket socket = connected(path, events);
        try {
            return use.with(socket, events);
        } finally {
            socket.abort();
        }
    }

    static String echoText(String text) throws Exception {
        return on("/echo", (socket, events) -> {
            socket.sendText(text, true).get();
            return shown(events.next());
        });
    }

    static String echoBinary(byte[] bytes) throws Exception {
        return on("/echo", (socket, events) -> {
            socket.sendBinary(ByteBuffer.wrap(bytes), true).get();
            return shown(events.next());
        });
    }

    static byte[] pattern(int length, int modulus) {
        byte[] bytes = new byte[length];
        for (int i = 0; i < length; i++) bytes[i] = (byte) (i % modulus);
        return bytes;
    }

    public static void main(String[] arguments) throws Exception {
        url = arguments[0];
        Map<String, Callable<String>> scenarios = new LinkedHashMap<>();
        scenarios.put("text", () -> echoText(TEXT));
        scenarios.put("binary", () -> echoBinary(pattern(256, 256)));
        scenarios.put("empty_text", () -> echoText(""));
        scenarios.put("empty_binary", () -> echoBinary(new byte[0]));
        scenarios.put("large", () -> on("/echo", (socket, events) -> {
            socket.sendBinary(ByteBuffer.wrap(pattern(16 * 1024 * 1024, 251)), true).get();
            byte[] answer = (byte[]) events.next();
            byte[] digest = MessageDigest.getInstance("SHA-256").digest(answer);
            return "[" + answer.length + ", \"" + HexFormat.of().formatHex(digest) + "\"]";
        }));
        scenarios.put("fragments_sent", () -> on("/echo", (socket, events) -> {
            for (int i = 0; i < PIECES.length; i++) socket.sendText(PIECES[i], i == PIECES.length - 1).get();
            socket.sendBinary(ByteBuffer.wrap(new byte[] {0}), false).get();
            socket.sendBinary(ByteBuffer.wrap(new byte[] {(byte) 255}), true).get();
            return "[" + shown(events.next()) + ", " + shown(events.next()) + "]";
        }));
        scenarios.put("fragments_received", () -> on("/fragments", (socket, events) ->
            "[" + shown(events.next()) + ", " + shown(events.next()) + "]"));
        scenarios.put("ping", () -> on("/echo", (socket, events) -> {
            socket.sendPing(StandardCharsets.UTF_8.encode(PING)).get();
            return quoted((String) events.next());
        }));
        scenarios.put("pinged", () -> on("/pings", (socket, events) -> quoted((String) events.next())));
        scenarios.put("closed", () -> on("/closes", (socket, events) -> {
            Map.Entry<?, ?> close = (Map.Entry<?, ?>) events.next();
            return "[" + close.getKey() + ", " + quoted((String) close.getValue()) + "]";
        }));
        scenarios.put("close", () -> on("/closed-by-client", (socket, events) -> {
            socket.sendClose(4002, REASON).get();
            return String.valueOf(((Map.Entry<?, ?>) events.next()).getKey());
        }));

        StringBuilder seen = new StringBuilder();
        for (Map.Entry<String, Callable<String>> scenario : scenarios.entrySet()) {
            String result;
            try {
                result = scenario.getValue().call();
            } catch (Exception error) {
                result = "{\"failed\": " + quoted(error.toString()) + "}";
            }
            seen.append(seen.length() == 0 ? "{" : ", ").append(quoted(scenario.getKey())).append(": ").append(result);
        }
        System.out.println(seen.append("}"));
        System.exit(0);
    }
}
