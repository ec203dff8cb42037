// sutazai-client.ts
interface Task {
    task_id: string;
    type: string;
    status: string;
    description: string;
}

class SutazAIClient {
    private baseUrl: string;
    private token?: string;
    
    constructor(baseUrl: string = "http://localhost:10010") {
        this.baseUrl = baseUrl;
    }
    
    async login(username: string, password: string): Promise<void> {
        const response = await fetch(`${this.baseUrl}/api/v1/auth/login`, {
            method: 'POST',
            headers: {'Content-Type': 'application/json'},
            body: JSON.stringify({username, password})
        });
        
        const data = await response.json();
        this.token = data.access_token;
    }
    
    async createTask(type: string, description: string): Promise<Task> {
        const response = await fetch(`${this.baseUrl}/api/v1/tasks`, {
            method: 'POST',
            headers: {
                'Content-Type': 'application/json',
                'Authorization': `Bearer ${this.token}`
            },
            body: JSON.stringify({type, description})
        });
        
        return response.json();
    }
    
    async getTask(taskId: string): Promise<Task> {
        const response = await fetch(`${this.baseUrl}/api/v1/tasks/${taskId}`, {
            headers: {'Authorization': `Bearer ${this.token}`}
        });
        
        return response.json();
    }
}

// Usage
const client = new SutazAIClient();
await client.login("john_doe", "password123");

const task = await client.createTask("code_review", "Review auth module");
console.log(`Created task: ${task.task_id}`);
