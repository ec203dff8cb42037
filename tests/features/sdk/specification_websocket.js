// Client-side connection
const ws = new WebSocket('ws://localhost:10010/ws');

ws.onopen = () => {
    console.log('Connected to SutazAI WebSocket');
    
    // Authenticate
    ws.send(JSON.stringify({
        type: 'auth',
        token: 'Bearer eyJhbGciOiJIUzI1NiIs...'
    }));
    
    // Subscribe to events
    ws.send(JSON.stringify({
        type: 'subscribe',
        events: ['task.*', 'agent.*']
    }));
};

ws.onmessage = (event) => {
    const data = JSON.parse(event.data);
    console.log('Received:', data);
    
    switch(data.type) {
        case 'task.completed':
            handleTaskCompleted(data.payload);
            break;
        case 'agent.status':
            updateAgentStatus(data.payload);
            break;
    }
};
